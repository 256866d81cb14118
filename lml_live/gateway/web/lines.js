/** What a hold or a booking consists of, as it is shown. Pure. */

import { areaQuantity } from "./seats.js";

/**
 * The lines of a hold or booking as shown: one a seat, one an area. A line names its seat by index or by id.
 * @param {object} hold
 * @param {(seatId: string) => number} indexOf
 */
export function linesOf(hold, indexOf) {
  const shown = [];
  const areas = new Map();
  for (const line of hold.lines ?? []) {
    if (line.area_id === undefined) {
      const seat = typeof line.seat === "number" ? line.seat : indexOf(line.seat_id);
      shown.push({ seat, areaId: null, count: 1, amount: line.amount, fee: line.fee });
    } else if (areas.has(line.area_id)) {
      const known = areas.get(line.area_id);
      known.count += 1;
      known.amount += line.amount;
      known.fee += line.fee;
    } else {
      const entry = { seat: null, areaId: line.area_id, count: 1, amount: line.amount, fee: line.fee };
      areas.set(line.area_id, entry);
      shown.push(entry);
    }
  }
  for (const [areaId, entry] of areas) entry.count = Math.max(entry.count, areaQuantity(hold.areas?.[areaId]));
  return shown;
}
