/** Where the seats of a row stand: on a line or an arc between two ends, alone or as a block of rows. Pure, world units. */

export const ROW_SEATS_MAX = 4_000;
export const BLOCK_ROWS_MAX = 200;
/** An arc that rises less than this part of its chord is drawn as a line. */
const FLAT = 1e-4;

/** The arc over a chord: its centre, radius and angles, or null for a line. `sagitta` is how far its middle is off the
 * chord, to the left of the way from `from` to `to` where it is positive. */
export function arcOf(from, to, sagitta) {
  const chord = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (!chord || Math.abs(sagitta) < chord * FLAT) return null;
  const radius = (chord * chord / 4 + sagitta * sagitta) / (2 * Math.abs(sagitta));
  const [ux, uy] = [(to[0] - from[0]) / chord, (to[1] - from[1]) / chord];
  // On a screen, where y grows downwards, left of the way is (uy, −ux).
  const [nx, ny] = [uy, -ux];
  const middle = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
  const back = sagitta - Math.sign(sagitta) * radius;
  const centre = [middle[0] + nx * back, middle[1] + ny * back];
  const start = Math.atan2(from[1] - centre[1], from[0] - centre[0]);
  const half = 2 * Math.atan2(2 * Math.abs(sagitta), chord);
  return { centre, radius, start, sweep: 2 * half * Math.sign(sagitta) };
}

export function rowLength(from, to, sagitta = 0) {
  const arc = arcOf(from, to, sagitta);
  return arc ? arc.radius * Math.abs(arc.sweep) : Math.hypot(to[0] - from[0], to[1] - from[1]);
}

/** How many seats fit from end to end at about this spacing: at least one. */
export function countFor(from, to, spacing, sagitta = 0) {
  return Math.max(1, Math.min(ROW_SEATS_MAX, Math.round(rowLength(from, to, sagitta) / spacing) + 1));
}

/** `count` points at equal distances along the way; one alone stands in its middle. */
export function rowPoints(from, to, count, sagitta = 0) {
  const arc = arcOf(from, to, sagitta);
  return Array.from({ length: count }, (_, at) => {
    const part = count === 1 ? 0.5 : at / (count - 1);
    if (!arc) return [from[0] + (to[0] - from[0]) * part, from[1] + (to[1] - from[1]) * part];
    const angle = arc.start + arc.sweep * part;
    return [arc.centre[0] + arc.radius * Math.cos(angle), arc.centre[1] + arc.radius * Math.sin(angle)];
  });
}

/** How far the middle of the arc through the ends and a middle one of these points is off the line between the ends: what
 * bends a row like them. An even number of seats has none at its very middle. */
export function sagittaOf(points) {
  if (points.length < 3) return 0;
  const [from, to] = [points[0], points[points.length - 1]];
  const chord = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (!chord) return 0;
  const middle = points[points.length >> 1];
  const off = offChord(from, to, middle);
  if (Math.abs(off) < chord * FLAT) return 0;
  const along = ((middle[0] - from[0]) * (to[0] - from[0]) + (middle[1] - from[1]) * (to[1] - from[1])) / chord - chord / 2;
  const centre = (along * along + off * off - (chord * chord) / 4) / (2 * off);
  return centre + Math.sign(off) * Math.hypot(chord / 2, centre);
}

/** How far a point is to the left of the way from `from` to `to`: the sagitta of an arc through it, if it is midway. */
export function offChord(from, to, point) {
  const chord = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  return ((to[1] - from[1]) * (point[0] - from[0]) - (to[0] - from[0]) * (point[1] - from[1])) / chord;
}

/**
 * A block of rows, one behind the other.
 *
 * Curved rows share their centre, so that the outer ones are longer: with `count` they stand wider, with `spacing` they
 * have more seats. Straight rows are copies.
 * @param {{from: number[], to: number[], sagitta?: number, count?: number, spacing?: number, rows?: number,
 *   rowSpacing?: number}} block `count` decides over `spacing`; a negative `rowSpacing` goes to the other side
 * @returns {number[][][]} points by row
 */
export function blockPoints({ from, to, sagitta = 0, count = 0, spacing = 1, rows = 1, rowSpacing = 1 }) {
  const arc = arcOf(from, to, sagitta);
  const chord = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  // Behind is to the right of the way, which for a row drawn from left to right is below.
  const [bx, by] = [-(to[1] - from[1]) / chord, (to[0] - from[0]) / chord];
  const found = [];
  for (let at = 0; at < Math.min(rows, BLOCK_ROWS_MAX); at += 1) {
    const off = at * rowSpacing;
    let ends = [[from[0] + bx * off, from[1] + by * off], [to[0] + bx * off, to[1] + by * off]];
    let bend = sagitta;
    if (arc) {
      // The centre is behind where the row bulges to the left.
      const grown = arc.radius - Math.sign(sagitta) * off;
      if (grown <= 0) break;
      const out = ([x, y]) => [arc.centre[0] + ((x - arc.centre[0]) * grown) / arc.radius, arc.centre[1] + ((y - arc.centre[1]) * grown) / arc.radius];
      ends = [out(from), out(to)];
      bend = (sagitta * grown) / arc.radius;
    }
    const seats = Math.min(ROW_SEATS_MAX, count || countFor(ends[0], ends[1], spacing, bend));
    found.push(rowPoints(ends[0], ends[1], seats, bend));
  }
  return found;
}

/** The nearest point of a grid. */
export function snapped([x, y], step) {
  return step > 0 ? [Math.round(x / step) * step, Math.round(y / step) * step] : [x, y];
}

/** The point at the same distance from `from`, in the nearest direction of so many to the full turn. */
export function turned(from, to, directions = 24) {
  const part = (2 * Math.PI) / directions;
  const angle = Math.round(Math.atan2(to[1] - from[1], to[0] - from[0]) / part) * part;
  const reach = Math.hypot(to[0] - from[0], to[1] - from[1]);
  return [from[0] + Math.cos(angle) * reach, from[1] + Math.sin(angle) * reach];
}
