/** New numbers, row labels and curves for rows that are there already. Pure. */

import { freeName, KEY, keyed, placed, rowsAmong, sizeOf } from "./plan.js";
import { changeSeats, place } from "./planedits.js";
import { following, labels, leftFirst, seatNumbers } from "./plannumbers.js";
import { rowPoints, sagittaOf } from "./planrows.js";

/** The places of a row's seats in world units. */
export function pointsOf(plan, seats) {
  const { width, height } = sizeOf(plan);
  return seats.map((seat) => [seat.x * width, seat.y * height]);
}

/**
 * Numbers the seats among `keys`, each row by itself and from the side that the scheme names.
 * @returns {object|null} null where the scheme makes no numbers for that many seats
 */
export function renumber(plan, keys, scheme) {
  const numbers = new Map();
  for (const { seats } of rowsAmong(plan, keys)) {
    const found = seatNumbers(seats.length, scheme, leftFirst(pointsOf(plan, seats)));
    if (!found) return null;
    seats.forEach((seat, at) => numbers.set(seat[KEY], found[at]));
  }
  return changeSeats(plan, keys, (seat) => (numbers.get(seat[KEY]) === seat.number ? seat : { ...seat, number: numbers.get(seat[KEY]) }));
}

/**
 * Labels the rows that have seats among `keys`, in each section anew, in their order or, `reversed`, from the last.
 * @returns {object|null} as `renumber`
 */
export function relabelRows(plan, keys, scheme, reversed = false) {
  const rows = rowsAmong(plan, keys);
  const bySection = Map.groupBy(rows, ({ section }) => section);
  const names = new Map();
  for (const list of bySection.values()) {
    const found = labels(list.length, scheme);
    if (!found) return null;
    if (reversed) found.reverse();
    list.forEach(({ row }, at) => names.set(row[KEY], found[at]));
  }
  const sections = plan.sections.map((section) => {
    if (!bySection.has(section)) return section;
    return { ...section, rows: section.rows.map((row) => (names.has(row[KEY]) && names.get(row[KEY]) !== row.label ? { ...row, label: names.get(row[KEY]) } : row)) };
  });
  return { ...plan, sections };
}

/** Spreads the seats among `keys`, row by row, evenly between the row's ends, on an arc that rises by `sagitta`. */
export function bend(plan, keys, sagitta) {
  return respread(plan, keys, (points) => [points[0], points[points.length - 1], sagitta]);
}

/** The same between two given ends. */
export function stretch(plan, keys, from, to, sagitta) {
  return respread(plan, keys, () => [from, to, sagitta]);
}

function respread(plan, keys, ends) {
  const places = new Map();
  for (const { seats } of rowsAmong(plan, keys)) {
    const [from, to, sagitta] = ends(pointsOf(plan, seats));
    rowPoints(from, to, seats.length, sagitta).forEach((point, at) => places.set(seats[at][KEY], point));
  }
  return place(plan, places);
}

/**
 * A row with more or fewer seats between the same ends. Those that are left keep what they are, new ones go on from the
 * last: its category, the numbers after its own.
 */
export function recount(plan, rowKey, count) {
  let keys = new Set();
  const sections = plan.sections.map((section) => {
    const at = section.rows?.findIndex((row) => row[KEY] === rowKey) ?? -1;
    if (at < 0 || section.rows[at].seats.length === count) return section;
    const row = section.rows[at];
    const [from, to, sagitta] = [row.seats[0], row.seats.at(-1), sagittaOf(pointsOf(plan, row.seats))];
    const seats = row.seats.slice(0, count);
    const taken = new Set(seats.map((seat) => seat.number));
    while (seats.length < count) {
      const number = freeName(following(seats.at(-1).number), taken);
      taken.add(number);
      seats.push(keyed({ number, x: to.x, y: to.y, category: to.category }));
    }
    const ends = pointsOf(plan, [from, to]);
    const size = sizeOf(plan);
    const points = rowPoints(ends[0], ends[1], count, sagitta).map((point) => placed(size, ...point));
    const spread = seats.map((seat, n) => ({ ...seat, x: points[n][0], y: points[n][1] }));
    keys = new Set(spread.map((seat) => seat[KEY]));
    return { ...section, rows: section.rows.with(at, { ...row, seats: spread }) };
  });
  return keys.size ? { plan: { ...plan, sections }, keys } : { plan, keys };
}

/** Whether what is said of all of some things is the same: that, or undefined. */
export function common(things, fact) {
  if (!things.length) return undefined;
  const first = fact(things[0]);
  return things.every((thing) => fact(thing) === first) ? first : undefined;
}
