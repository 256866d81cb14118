/** What the wire says about seats: four states, two bits a seat. Pure. */

export const AVAILABLE = 0;
export const HELD = 1;
export const SOLD = 2;
export const BLOCKED = 3;

/** The fields of `diff` and `resumed` that list seats, with the state that each list means. */
export const STATE_LISTS = Object.freeze([
  ["available", AVAILABLE],
  ["held", HELD],
  ["sold", SOLD],
  ["blocked", BLOCKED],
]);

/**
 * Unpacks the `seats` of a `welcome`: seat 0 in the lowest bits of the first byte.
 * @param {string} text standard padded base64
 * @param {number} count how many seats the layout has
 * @returns {Uint8Array} one state a seat
 * @throws {RangeError} when the bytes are not exactly those of `count` seats
 */
export function unpackSeats(text, count) {
  let bytes;
  try {
    bytes = atob(text);
  } catch {
    throw new RangeError("seats is not base64");
  }
  if (bytes.length !== Math.ceil(count / 4)) {
    throw new RangeError(`seats has ${bytes.length} bytes, ${count} seats need ${Math.ceil(count / 4)}`);
  }
  const states = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) {
    states[index] = (bytes.charCodeAt(index >> 2) >> ((index & 3) * 2)) & 3;
  }
  return states;
}

/**
 * Applies the lists of a `diff` or `resumed` in place. States are absolute, so repeating does no harm.
 * @param {Uint8Array} states
 * @param {object} message
 * @returns {number[]} the indexes whose state is another now
 */
export function applyLists(states, message) {
  const changed = [];
  for (const [field, state] of STATE_LISTS) {
    for (const index of message[field] ?? []) {
      if (index >= 0 && index < states.length && states[index] !== state) {
        states[index] = state;
        changed.push(index);
      }
    }
  }
  return changed;
}

/**
 * How many places of an area the holder's own hold takes; `areas` may give a number or a number per type.
 * @param {number|Object<string, number>|undefined} value
 * @returns {number}
 */
export function areaQuantity(value) {
  if (value === undefined || value === null) return 0;
  if (typeof value === "number") return value;
  return Object.values(value).reduce((sum, part) => sum + part, 0);
}
