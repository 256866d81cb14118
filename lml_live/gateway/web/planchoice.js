/** What is chosen: sets of keys of seats, areas and shapes, by box, by brush, by row and by section. Pure. */

import { KEY } from "./plan.js";

/** Keys of the seats whose middle is in a box, and of areas and shapes that are wholly in it. */
export function inBox(scene, [x0, y0, x1, y1]) {
  const found = new Set();
  const [left, top, right, bottom] = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  scene.grid.each(left, top, right, bottom, (index) => found.add(scene.keys[index]));
  const within = (points) => points.length > 0 && points.every(([x, y]) => x >= left && x <= right && y >= top && y <= bottom);
  const { plan, size } = scene;
  const world = (points) => points.map(([x, y]) => [x * size.width, y * size.height]);
  for (const section of plan.sections) if (section.kind === "standing" && within(world(section.outline ?? []))) found.add(section[KEY]);
  for (const shape of plan.shapes) if (within(world(shape.points))) found.add(shape[KEY]);
  return found;
}

/** Indexes of the seats that a round brush passes over on its way between two points. */
export function underBrush(scene, [ax, ay], [bx, by], radius) {
  const found = [];
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const reach = radius + scene.grid.maxRadius;
  scene.grid.each(Math.min(ax, bx) - reach, Math.min(ay, by) - reach, Math.max(ax, bx) + reach, Math.max(ay, by) + reach, (index) => {
    const [x, y] = [scene.x[index], scene.y[index]];
    const along = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
    // A brush smaller than a seat still takes the seat that it touches.
    if (Math.hypot(x - ax - along * dx, y - ay - along * dy) <= Math.max(radius, scene.radius[index])) found.push(index);
  });
  return found;
}

/** The shape at a world point, the one that lies on top, or null. */
export function shapeAt(scene, x, y, slack) {
  for (let at = scene.plan.shapes.length - 1; at >= 0; at -= 1) {
    const points = scene.plan.shapes[at].points.map(([px, py]) => [px * scene.size.width, py * scene.size.height]);
    if (points.length > 2 ? insideOf(points, x, y) : points.some(([px, py]) => Math.hypot(px - x, py - y) <= slack)) return scene.plan.shapes[at];
  }
  return null;
}

/** What a click takes with a seat: itself, its row, or its section. */
export function aroundSeat(scene, index, reach) {
  if (reach === "seats") return new Set([scene.keys[index]]);
  const { first, count } = reach === "rows" ? scene.rows[scene.rowOf[index]] : scene.sections[scene.sectionOf[index]];
  return new Set(scene.keys.subarray(first, first + count));
}

/** Of two sets: `replace`, `add`, `remove` or `toggle` (those of `found` that are in change sides all together). */
export function combined(chosen, found, mode) {
  if (mode === "replace") return new Set(found);
  const result = new Set(chosen);
  const off = mode === "remove" || (mode === "toggle" && [...found].every((key) => chosen.has(key)));
  for (const key of found) {
    if (off) result.delete(key);
    else result.add(key);
  }
  return result;
}

/** What of the chosen is still there after an edit. */
export function stillThere(plan, chosen) {
  const found = new Set();
  if (!chosen.size) return found;
  const look = (thing) => chosen.has(thing[KEY]) && found.add(thing[KEY]);
  for (const section of plan.sections) {
    look(section);
    for (const row of section.rows ?? []) row.seats.forEach(look);
  }
  plan.shapes.forEach(look);
  return found;
}

/** Everything that can be chosen. */
export function everything(plan) {
  const found = new Set(plan.shapes.map((shape) => shape[KEY]));
  for (const section of plan.sections) {
    if (section.kind === "standing") found.add(section[KEY]);
    for (const row of section.rows ?? []) for (const seat of row.seats) found.add(seat[KEY]);
  }
  return found;
}

function insideOf(outline, x, y) {
  let within = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i, i += 1) {
    const [xi, yi] = outline[i];
    const [xj, yj] = outline[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}
