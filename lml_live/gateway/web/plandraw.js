/** What is drawn over and under the tiles of a plan: the sheet, what is chosen, what is wrong, what is about to be. */

import { KEY } from "./plan.js";

const FAR_RADIUS = 3;
/** From this radius on a seat shows what is said of it. */
const MARK_RADIUS = 5;
const GRID_PX_MIN = 9;
const FLAGS_MAX = 200;
const FLAG_PX = 16;

/** The sheet with its edge, and the grid while it is wide enough to be one. In device pixels. */
export function drawSheet(context, map) {
  const { layout, ratio, theme } = map;
  const [x0, y0] = map.toScreen([0, 0]).map((value) => Math.round(value * ratio));
  const [x1, y1] = map.toScreen([layout.width, layout.height]).map((value) => Math.round(value * ratio));
  context.fillStyle = theme.surface;
  context.fillRect(x0, y0, x1 - x0, y1 - y0);
  context.lineWidth = 1;
  const step = map.gridStep * map.camera.scale * ratio;
  if (step >= GRID_PX_MIN * ratio) {
    context.strokeStyle = theme.sectionLine;
    context.globalAlpha = 0.4;
    context.beginPath();
    for (let at = Math.max(0, Math.ceil(-x0 / step)); x0 + at * step <= Math.min(x1, map.canvas.width); at += 1) {
      const x = Math.round(x0 + at * step) + 0.5;
      context.moveTo(x, Math.max(0, y0));
      context.lineTo(x, Math.min(map.canvas.height, y1));
    }
    for (let at = Math.max(0, Math.ceil(-y0 / step)); y0 + at * step <= Math.min(y1, map.canvas.height); at += 1) {
      const y = Math.round(y0 + at * step) + 0.5;
      context.moveTo(Math.max(0, x0), y);
      context.lineTo(Math.min(map.canvas.width, x1), y);
    }
    context.stroke();
    context.globalAlpha = 1;
  }
  context.strokeStyle = theme.sectionLine;
  context.lineWidth = Math.round(1.5 * ratio);
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

function* visible(map, indexes, dx = 0, dy = 0) {
  const { layout, camera, width, height } = map;
  for (const index of indexes) {
    const x = (layout.x[index] + dx - camera.x) * camera.scale + width / 2;
    const y = (layout.y[index] + dy - camera.y) * camera.scale + height / 2;
    const r = layout.radius[index] * camera.scale;
    if (x > -r && y > -r && x < width + r && y < height + r) yield [x, y, r, index];
  }
}

/** What is said of seats, by shape: a square for a wheelchair place, a bar for a companion, a corner for a bad view. */
export function drawMarks(context, map) {
  const { layout, theme } = map;
  if (!layout.notes.size || layout.spacing * 0.41 * map.camera.scale < MARK_RADIUS) return;
  context.lineWidth = 1.75;
  context.strokeStyle = theme.ink;
  context.beginPath();
  for (const [x, y, r, index] of visible(map, layout.notes.keys())) {
    const note = layout.notes.get(index);
    if (note.includes("wheelchair")) context.rect(x - r - 1, y - r - 1, 2 * r + 2, 2 * r + 2);
    if (note.includes("companion")) {
      context.moveTo(x - r, y + r + 2);
      context.lineTo(x + r, y + r + 2);
    }
    if (note.includes("restricted")) {
      context.moveTo(x + r * 0.2, y - r - 1.5);
      context.lineTo(x + r + 1.5, y - r - 1.5);
      context.lineTo(x + r + 1.5, y - r * 0.2);
    }
  }
  context.stroke();
}

export function drawChosen(context, map) {
  const { theme, layout } = map;
  if (map.chosenIndexes.length) {
    context.fillStyle = theme.ink;
    context.beginPath();
    let rings = false;
    for (const [x, y, r] of visible(map, map.chosenIndexes)) {
      if (r < FAR_RADIUS) {
        const edge = Math.max(2, r * 2.2);
        context.fillRect(x - edge / 2, y - edge / 2, edge, edge);
      } else {
        rings = true;
        context.moveTo(x + r + 1, y);
        context.arc(x, y, r + 1, 0, Math.PI * 2);
      }
    }
    if (rings) {
      // A light ring inside a dark one is seen on every colour.
      context.lineWidth = 4.5;
      context.strokeStyle = theme.ink;
      context.stroke();
      context.lineWidth = 2;
      context.strokeStyle = theme.mine;
      context.stroke();
    }
  }
  context.lineWidth = 2.5;
  context.strokeStyle = theme.focus;
  context.setLineDash([7, 4]);
  for (const outline of chosenOutlines(map)) {
    tracePoints(context, map, outline.map(([x, y]) => [x * layout.width, y * layout.height]), outline.length > 2);
    context.stroke();
  }
  context.setLineDash([]);
}

function chosenOutlines(map) {
  const { plan } = map.layout;
  if (!map.chosen.size || map.chosen.size === map.chosenIndexes.length) return [];
  const areas = plan.sections.filter((section) => map.chosen.has(section[KEY]) && section.outline).map((section) => section.outline);
  return [...areas, ...plan.shapes.filter((shape) => map.chosen.has(shape[KEY])).map((shape) => shape.points)];
}

function tracePoints(context, map, points, closed = false) {
  context.beginPath();
  points.forEach((point, at) => {
    const [x, y] = map.toScreen(point);
    if (at) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
  if (closed) context.closePath();
}

/** What the check found: every seat in a diamond, and a triangle over the first, filled where it keeps the plan out. */
export function drawFaults(context, map) {
  const { theme } = map;
  // Errors first: where flags would cover one another, the first one stands for all.
  const flags = [];
  const later = [];
  for (const error of [true, false]) {
    context.strokeStyle = context.fillStyle = theme.warn;
    context.lineWidth = error ? 2.5 : 1.5;
    for (const fault of map.faults) {
      if (fault.error !== error) continue;
      const [spot] = visible(map, [fault.index]);
      if (!spot) continue;
      const [x, y, r] = spot;
      const reach = r < FAR_RADIUS ? 0 : Math.max(5, r * 1.5);
      if (fault.first && flags.length < FLAGS_MAX && !flags.some((flag) => Math.abs(flag[0] - x) < FLAG_PX && Math.abs(flag[1] - y) < FLAG_PX)) {
        flags.push([x, y]);
        later.push([x, y - reach - 3, error]);
      }
      if (!reach) continue;
      context.beginPath();
      context.moveTo(x, y - reach);
      context.lineTo(x + reach, y);
      context.lineTo(x, y + reach);
      context.lineTo(x - reach, y);
      context.closePath();
      context.stroke();
    }
  }
  for (const [x, y, error] of later.reverse()) drawFlag(context, x, y, error, theme);
}

function drawFlag(context, x, y, error, theme) {
  context.beginPath();
  context.moveTo(x, y - 15);
  context.lineTo(x + 9, y);
  context.lineTo(x - 9, y);
  context.closePath();
  context.lineJoin = "round";
  context.fillStyle = error ? theme.warn : theme.surface;
  context.fill();
  context.strokeStyle = error ? theme.surface : theme.warn;
  context.lineWidth = 1.5;
  context.stroke();
  context.fillStyle = error ? theme.surface : theme.warn;
  context.font = `700 10px ${theme.font}`;
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  context.fillText("!", x, y - 2.5);
  context.fillStyle = context.strokeStyle = theme.warn;
}

/** What is being moved, where it would come to lie. */
export function drawGhost(context, map) {
  const { theme, layout, ghost } = map;
  context.fillStyle = theme.focus;
  context.globalAlpha = 0.75;
  context.beginPath();
  for (const [x, y, r] of visible(map, map.chosenIndexes, ghost.dx, ghost.dy)) {
    context.moveTo(x + r, y);
    if (r < FAR_RADIUS) context.rect(x - r, y - r, r * 2, r * 2);
    else context.arc(x, y, r, 0, Math.PI * 2);
  }
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = theme.focus;
  context.lineWidth = 2;
  for (const outline of chosenOutlines(map)) {
    tracePoints(context, map, outline.map(([x, y]) => [x * layout.width + ghost.dx, y * layout.height + ghost.dy]), true);
    context.stroke();
  }
}

/** A row, a box, a polygon, a brush. */
export function drawPreview(context, map) {
  const { theme, preview, camera } = map;
  context.strokeStyle = context.fillStyle = theme.focus;
  context.lineWidth = 2;
  if (preview.lines?.length) {
    context.lineWidth = 1;
    context.setLineDash([4, 4]);
    for (const line of preview.lines) {
      tracePoints(context, map, line);
      context.stroke();
    }
    context.setLineDash([]);
    context.lineWidth = 2;
  }
  if (preview.rows) {
    const r = Math.max(1.5, preview.radius * camera.scale);
    context.globalAlpha = 0.8;
    context.beginPath();
    for (const row of preview.rows) {
      for (const point of row) {
        const [x, y] = map.toScreen(point);
        context.moveTo(x + r, y);
        context.arc(x, y, r, 0, Math.PI * 2);
      }
    }
    context.fill();
    context.globalAlpha = 1;
  }
  if (preview.outline) {
    tracePoints(context, map, preview.outline, preview.closed);
    context.setLineDash(preview.dashed ? [6, 4] : []);
    context.globalAlpha = 0.12;
    if (preview.closed) context.fill();
    context.globalAlpha = 1;
    context.stroke();
    context.setLineDash([]);
    for (const point of preview.corners ?? []) {
      const [x, y] = map.toScreen(point);
      context.fillRect(x - 3.5, y - 3.5, 7, 7);
    }
  }
  if (preview.brush) {
    const [x, y] = map.toScreen(preview.brush.point);
    context.beginPath();
    context.arc(x, y, Math.max(4, preview.brush.radius * camera.scale), 0, Math.PI * 2);
    context.strokeStyle = theme.surface;
    context.lineWidth = 4;
    context.stroke();
    context.strokeStyle = preview.brush.colour ?? theme.focus;
    context.lineWidth = 2;
    context.stroke();
  }
  if (preview.text) drawTag(context, map, preview.text, map.toScreen(preview.at));
}

function drawTag(context, { theme, width }, text, [x, y]) {
  context.font = `600 12px ${theme.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const wide = context.measureText(text).width + 14;
  const left = Math.min(x + 14, width - wide - 4);
  context.fillStyle = theme.ink;
  context.beginPath();
  context.roundRect(left, y + 12, wide, 22, 6);
  context.fill();
  context.fillStyle = theme.surface;
  context.fillText(text, left + 7, y + 23.5);
}

/** Where a row is taken hold of: squares at its ends, a disc at its middle. */
export function drawHandles(context, map) {
  const { theme } = map;
  for (const handle of map.handles) {
    const [x, y] = map.toScreen(handle.point);
    context.beginPath();
    if (handle.name === "bend") context.arc(x, y, 7, 0, Math.PI * 2);
    else context.rect(x - 6, y - 6, 12, 12);
    context.fillStyle = theme.surface;
    context.fill();
    context.strokeStyle = theme.focus;
    context.lineWidth = 2.5;
    context.stroke();
  }
}
