/** Numbers for seats and names for rows: counted, odd or even, by letter, from any side. Pure. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** How seats of a row are numbered, in the order of the form. */
export const SEAT_ORDERS = Object.freeze({
  left: "From the left",
  right: "From the right",
  centre: "From the centre: odd left, even right",
  centre_even: "From the centre: even left, odd right",
});
export const KINDS = Object.freeze({ numbers: "1, 2, 3 …", odd: "1, 3, 5 …", even: "2, 4, 6 …", letters: "A, B, C …" });
/** Letters that are often left out, because they look like numbers. */
export const SKIPPED = "IO";

/**
 * The nth label by letters, from 0: A … Z, AA, AB …
 * @param {string} skip letters that are left out
 */
export function letters(n, skip = "") {
  const alphabet = [...ALPHABET].filter((letter) => !skip.includes(letter));
  let text = "";
  for (let rest = n; rest >= 0; rest = Math.floor(rest / alphabet.length) - 1) text = alphabet[rest % alphabet.length] + text;
  return text;
}

/** The place of a label in that count, or −1 where it is none: A is 0. */
export function letterPlace(text, skip = "") {
  const alphabet = [...ALPHABET].filter((letter) => !skip.includes(letter));
  let place = 0;
  for (const letter of text.toUpperCase()) {
    const at = alphabet.indexOf(letter);
    if (at < 0) return -1;
    place = place * alphabet.length + at + 1;
  }
  return text ? place - 1 : -1;
}

/**
 * `count` labels in a row.
 * @param {{kind?: string, start?: string, step?: number, skip?: string, prefix?: string}} scheme `start` is a number, or
 *   letters; without it 1, 2 (even) or A. `step` may be negative; odd and even count in twos.
 * @returns {string[]|null} null where the scheme makes no sense or leaves the numbers: below 0, no letter
 */
export function labels(count, { kind = "numbers", start = "", step = 1, skip = "", prefix = "" } = {}) {
  const given = String(start).trim();
  const [first, by] = kind === "letters" ? [given ? letterPlace(given, skip) : 0, step] : [given ? Number(given) : kind === "even" ? 2 : 1, step * (kind === "numbers" ? 1 : 2)];
  if (!Number.isInteger(first) || !Number.isInteger(by) || by === 0) return null;
  if ((kind === "odd" && first % 2 === 0) || (kind === "even" && first % 2 !== 0)) return null;
  if (Math.min(first, first + by * (count - 1)) < 0 || Math.max(first, first + by * (count - 1)) > 999_999) return null;
  return Array.from({ length: count }, (_, at) => prefix + (kind === "letters" ? letters(first + by * at, skip) : String(first + by * at)));
}

/**
 * The numbers of a row's seats, in the order in which they stand.
 * @param {number} count
 * @param {{order?: string}} scheme beside what `labels` takes: where to begin
 * @param {boolean} leftFirst whether the row's first seat is its left one
 * @returns {string[]|null} as `labels`
 */
export function seatNumbers(count, scheme, leftFirst = true) {
  const { order = "left" } = scheme;
  if (order.startsWith("centre")) {
    // 5 3 1 2 4 6: a side each for odd and for even ones, whatever else the scheme says.
    const { prefix = "" } = scheme;
    const odd = Array.from({ length: Math.ceil(count / 2) }, (_, at) => `${prefix}${2 * at + 1}`);
    const even = Array.from({ length: Math.floor(count / 2) }, (_, at) => `${prefix}${2 * at + 2}`);
    const [left, right] = order === "centre" ? [odd, even] : [even, odd];
    const found = [...left.reverse(), ...right];
    return leftFirst ? found : found.reverse();
  }
  const found = labels(count, scheme);
  return found && (order === "left") !== leftFirst ? found.reverse() : found;
}

/** Whether the first of these points is the left end as one looks at the plan; of upright rows the upper one. */
export function leftFirst(points) {
  if (points.length < 2) return true;
  const [first, last] = [points[0], points[points.length - 1]];
  const [dx, dy] = [last[0] - first[0], last[1] - first[1]];
  return Math.abs(dx) >= Math.abs(dy) ? dx >= 0 : dy >= 0;
}

/** The label after this one: 7 → 8, C → D, Z → AA, Row 9 → Row 10. */
export function following(label, skip = "") {
  const number = /^(.*?)(\d{1,9})$/su.exec(label);
  if (number) return number[1] + String(Number(number[2]) + 1).padStart(number[2].length, "0");
  const place = letterPlace(label, skip);
  return place >= 0 ? letters(place + 1, skip) : `${label} 2`;
}
