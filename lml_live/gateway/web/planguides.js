/** What a point that is drawn is drawn to: where the next row would begin or end, and the ends of rows that are there. Pure. */

/** The ends of every row of a scene, in world units. @param {import("./planscene.js").Scene} scene */
export function rowEnds(scene) {
  const found = [];
  for (const { first, count } of scene.rows) {
    if (!count) continue;
    found.push([scene.x[first], scene.y[first]]);
    if (count > 1) found.push([scene.x[first + count - 1], scene.y[first + count - 1]]);
  }
  return found;
}

/** Where a row beside the last one of a section would have its ends, on both sides of it. */
export function besideLast(scene, sectionName, rowSpacing) {
  const section = scene.sections.find((each) => each.name === sectionName && each.rows.length);
  const row = section && scene.rows[section.rows[section.rows.length - 1]];
  if (!row || row.count < 2) return [];
  const [a, b] = [row.first, row.first + row.count - 1].map((index) => [scene.x[index], scene.y[index]]);
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
  const [nx, ny] = [(-(b[1] - a[1]) / length) * rowSpacing, ((b[0] - a[0]) / length) * rowSpacing];
  return [a, b].flatMap(([x, y]) => [[x + nx, y + ny], [x - nx, y - ny]]);
}

/**
 * A point on what is near: one of `spots`, or level with some of `ends` in one direction or both.
 * @param {number} reach how near, in world units
 * @returns {{point: number[], lines: number[][][]}} `lines` lead from what it is level with to the point
 */
export function guided(point, { spots = [], ends = [], reach }) {
  const nearest = (list, distance) => list.reduce((best, each) => (distance(each) < (best ? distance(best) : reach) ? each : best), null);
  const spot = nearest(spots, ([x, y]) => Math.hypot(x - point[0], y - point[1]));
  if (spot) return { point: spot, lines: [] };
  const upright = nearest(ends, ([x]) => Math.abs(x - point[0]));
  const level = nearest(ends, ([, y]) => Math.abs(y - point[1]));
  const found = [upright ? upright[0] : point[0], level ? level[1] : point[1]];
  return { point: found, lines: [upright, level].filter(Boolean).map((end) => [end, found]) };
}
