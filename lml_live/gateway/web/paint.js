/**
 * Draws seats. Every look of a seat is drawn once a scale into an atlas and copied from there on whole pixels, so that
 * one seat can be repainted without touching its neighbours. Far out, where a seat is a few pixels, it is a rectangle.
 */

import { AVAILABLE, BLOCKED, HELD } from "./seats.js";

export const CATEGORY_COLOURS = 8;
/** Below this radius in device pixels a shape cannot be told apart and a rectangle is drawn. */
const SHAPE_RADIUS = 1.6;
/** From this radius in CSS pixels on, a seat carries its number. */
const NUMBER_RADIUS = 8;
/** A far seat's edge in radii: it nearly touches its neighbour, so that a section has a colour. */
const FAR_SIZE = 2.25;
const DIM = 0.14;

/** Reads the map's colours from the style sheet, which knows about dark mode. */
export function readTheme(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    section: colour("--map-section"),
    sectionLine: colour("--map-section-line"),
    standing: colour("--map-standing"),
    stage: colour("--map-stage"),
    ink: colour("--ink"),
    muted: colour("--muted"),
    held: colour("--seat-held"),
    sold: colour("--seat-sold"),
    blocked: colour("--seat-blocked"),
    mine: colour("--seat-mine"),
    mineInk: colour("--seat-mine-ink"),
    surface: colour("--surface"),
    focus: colour("--focus"),
    warn: colour("--warn"),
    font: style.fontFamily,
    categories: Array.from({ length: CATEGORY_COLOURS }, (_, at) => colour(`--category-${at}`)),
  };
}

/** Draws one seat's look around (x, y) with radius r. Shapes differ, not only colours. */
export function drawSeat(context, look, theme, x, y, r) {
  context.beginPath();
  switch (look.state) {
    case AVAILABLE:
      context.fillStyle = theme.categories[look.colour];
      context.arc(x, y, r, 0, Math.PI * 2);
      context.fill();
      break;
    case HELD: {
      // A ring, half full: taken for now, may come back.
      const line = Math.max(0.9, r * 0.24);
      context.strokeStyle = context.fillStyle = theme.held;
      context.lineWidth = line;
      context.arc(x, y, r - line / 2, 0, Math.PI * 2);
      context.stroke();
      context.beginPath();
      context.arc(x, y, r - line / 2, Math.PI / 2, Math.PI * 1.5);
      context.fill();
      break;
    }
    case BLOCKED:
      context.fillStyle = theme.blocked;
      context.arc(x, y, Math.max(0.6, r * 0.28), 0, Math.PI * 2);
      context.fill();
      break;
    default: {
      const arm = r * 0.5;
      context.strokeStyle = theme.sold;
      context.lineWidth = Math.max(0.9, r * 0.24);
      context.lineCap = "round";
      context.moveTo(x - arm, y - arm);
      context.lineTo(x + arm, y + arm);
      context.moveTo(x + arm, y - arm);
      context.lineTo(x - arm, y + arm);
      context.stroke();
    }
  }
}

/** A seat of mine: bigger, outlined and checked. `pending` draws it hollow and dashed until the server has answered. */
export function drawMine(context, theme, x, y, r, pending) {
  context.beginPath();
  context.arc(x, y, r, 0, Math.PI * 2);
  context.fillStyle = pending ? theme.surface : theme.mine;
  context.fill();
  context.lineWidth = Math.max(1.5, r * 0.22);
  context.strokeStyle = pending ? theme.mine : theme.mineInk;
  if (pending) context.setLineDash([r * 0.5, r * 0.35]);
  context.stroke();
  context.setLineDash([]);
  if (pending) return;
  context.beginPath();
  context.lineWidth = Math.max(1.4, r * 0.26);
  context.lineCap = context.lineJoin = "round";
  context.moveTo(x - r * 0.42, y + r * 0.02);
  context.lineTo(x - r * 0.1, y + r * 0.36);
  context.lineTo(x + r * 0.46, y - r * 0.34);
  context.stroke();
}

export class SeatPainter {
  /**
   * @param {import("./layout.js").Layout} layout
   * @param {(category: number) => number} colourOf a category's place in the palette
   */
  constructor(layout, theme, colourOf, ratio) {
    this.layout = layout;
    this.theme = theme;
    this.ratio = ratio;
    this.states = new Uint8Array(layout.count);
    this.colours = layout.categories.map((_, category) => colourOf(category));
    this.dimmed = new Uint8Array(layout.categories.length);
    this._atlases = new Map();
    this._buckets = new Map();
    this._paths = layout.sections.map(sectionPath);
  }

  /** Takes over what another painter of the same colours has drawn of single seats. */
  adopt(other) {
    this._atlases = other._atlases;
  }

  /** A seat's box at a scale, on whole device pixels: [left, top, size]. */
  box(index, scale) {
    const r = this.layout.radius[index] * scale;
    const size = r < SHAPE_RADIUS ? Math.max(1, Math.ceil(r * FAR_SIZE - 0.05)) : Math.ceil(r * 2) + 2;
    return [Math.round(this.layout.x[index] * scale - size / 2), Math.round(this.layout.y[index] * scale - size / 2), size];
  }

  /** Paints everything of the world that is in a tile whose corner is at (left, top) device pixels. */
  paintTile(context, scale, left, top, size) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, size, size);
    const world = [left / scale, top / scale, (left + size) / scale, (top + size) / scale];
    context.setTransform(scale, 0, 0, scale, -left, -top);
    this._paintShapes(context, world, scale);
    const near = [];
    this.layout.sections.forEach((section, number) => {
      if (section.box && overlaps(section.box, world)) {
        this._paintSection(context, section, this._paths[number], scale);
        if (section.count) near.push(section);
      }
    });
    context.setTransform(1, 0, 0, 1, -left, -top);
    for (const section of near) this._paintRowLabels(context, section, scale, world);
    const reach = this.layout.grid.maxRadius + 2 / scale;
    const buckets = this._buckets;
    buckets.clear();
    this.layout.grid.each(world[0] - reach, world[1] - reach, world[2] + reach, world[3] + reach, (index) => {
      const key = this._key(index);
      const bucket = buckets.get(key);
      if (bucket) bucket.push(index);
      else buckets.set(key, [index]);
    });
    for (const [key, bucket] of buckets) this._paintSeats(context, scale, key, bucket);
  }

  /** Repaints one seat in a tile: its ground first, then its look. */
  repaintSeat(context, scale, left, top, index) {
    const [x, y, size] = this.box(index, scale);
    context.setTransform(1, 0, 0, 1, -left, -top);
    context.fillStyle = this.theme.section;
    context.fillRect(x, y, size, size);
    this._one[0] = index;
    this._paintSeats(context, scale, this._key(index), this._one);
  }

  _one = [0];

  /** What decides a seat's look, as one small number. */
  _key(index) {
    const state = this.states[index];
    const category = this.layout.categoryOf[index];
    return (state === AVAILABLE ? 8 + this.colours[category] : state) * 2 + this.dimmed[category];
  }

  _paintSeats(context, scale, key, indexes) {
    const { layout } = this;
    const dim = key & 1;
    const style = key >> 1;
    const look = style >= 8 ? { state: AVAILABLE, colour: style - 8 } : { state: style };
    const strength = dim ? DIM : 1;
    let drawnAlpha = strength;
    context.globalAlpha = strength;
    context.fillStyle = look.state === AVAILABLE ? this.theme.categories[look.colour] : this._faint(look.state);
    for (const index of indexes) {
      const r = layout.radius[index] * scale;
      if (r >= SHAPE_RADIUS) {
        if (drawnAlpha !== strength) context.globalAlpha = drawnAlpha = strength;
        const [x, y, size] = this.box(index, scale);
        const [atlas, sx, sy] = this._cell(scale, style, look, r, size);
        context.drawImage(atlas, sx, sy, size, size, x, y, size, size);
        if (look.state === AVAILABLE && r >= NUMBER_RADIUS * this.ratio) {
          const fill = context.fillStyle;
          this._paintNumber(context, index, look, r, x, y, size);
          context.fillStyle = fill;
        }
      } else {
        // On whole pixels, and paler by what the pixels are too much: sections of near sizes look alike.
        const [x, y, size] = this.box(index, scale);
        const share = (r * FAR_SIZE) / size;
        const alpha = Math.max(0.35, Math.min(1, share * share)) * strength;
        if (alpha !== drawnAlpha) context.globalAlpha = drawnAlpha = alpha;
        context.fillRect(x, y, size, size);
      }
    }
    context.globalAlpha = 1;
  }

  _faint(state) {
    if (state === HELD) return this.theme.held;
    return state === BLOCKED ? this.theme.section : this.theme.sectionLine;
  }

  _paintNumber(context, index, look, r, x, y, size) {
    const text = this.layout.numbers[index];
    context.font = `600 ${Math.round(r * (text.length > 2 ? 0.72 : 0.95))}px ${this.theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = readable(this.theme.categories[look.colour]);
    context.fillText(text, x + size / 2, y + size / 2 + r * 0.06);
  }

  /** The atlas cell that holds a look at a size; drawn when first asked for. */
  _cell(scale, style, look, r, size) {
    let atlas = this._atlases.get(scale);
    if (!atlas) {
      if (this._atlases.size >= 4) this._atlases.delete(this._atlases.keys().next().value);
      atlas = { canvas: document.createElement("canvas"), cells: new Map(), x: 0, y: 0, line: 0 };
      atlas.canvas.width = atlas.canvas.height = 1024;
      atlas.context = atlas.canvas.getContext("2d");
      this._atlases.set(scale, atlas);
    }
    const quantum = Math.round(r * 4);
    const key = style * 65536 + quantum;
    let cell = atlas.cells.get(key);
    if (!cell) {
      if (atlas.x + size > 1024) {
        atlas.x = 0;
        atlas.y += atlas.line;
        atlas.line = 0;
      }
      if (atlas.y + size > 1024) {
        // Full: begin again. What was drawn from it is in the tiles already.
        atlas.cells.clear();
        atlas.context.clearRect(0, 0, 1024, 1024);
        atlas.x = atlas.y = atlas.line = 0;
      }
      drawSeat(atlas.context, look, this.theme, atlas.x + size / 2, atlas.y + size / 2, quantum / 4);
      cell = [atlas.canvas, atlas.x, atlas.y];
      atlas.cells.set(key, cell);
      atlas.x += size + 1;
      atlas.line = Math.max(atlas.line, size + 1);
    }
    return cell;
  }

  _paintSection(context, section, path, scale) {
    const { theme } = this;
    if (section.outline) {
      context.fillStyle = section.standing ? theme.standing : theme.section;
      context.fill(path);
      context.strokeStyle = theme.sectionLine;
      context.lineWidth = 1 / scale;
      context.stroke(path);
    } else if (section.bands.length) {
      context.lineCap = context.lineJoin = "round";
      context.strokeStyle = theme.section;
      context.lineWidth = section.spacing * 2;
      context.stroke(path);
    }
  }

  _paintShapes(context, world, scale) {
    const { theme } = this;
    for (const shape of this.layout.shapes) {
      if (shape.points.length < 2) continue;
      context.beginPath();
      shape.points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (shape.points.length === 2) {
        context.strokeStyle = theme.sectionLine;
        context.lineWidth = 2 / scale;
        context.stroke();
        continue;
      }
      context.closePath();
      context.fillStyle = shape.kind === "section" ? theme.section : theme.stage; // a further part of a section, or scenery
      context.fill();
    }
  }

  _paintRowLabels(context, section, scale, world) {
    if (section.spacing * scale < 14 * this.ratio) return;
    const { layout, theme } = this;
    const reach = section.spacing * 3;
    context.font = `${Math.round(Math.max(9 * this.ratio, Math.min(13 * this.ratio, section.spacing * scale * 0.5)))}px ${theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = theme.muted;
    for (const number of section.rows) {
      const row = layout.rows[number];
      if (!row.count) continue;
      const last = row.first + row.count - 1;
      for (const [end, next] of [[row.first, Math.min(row.first + 1, last)], [last, Math.max(last - 1, row.first)]]) {
        let dx = layout.x[end] - layout.x[next];
        let dy = layout.y[end] - layout.y[next];
        const length = Math.hypot(dx, dy);
        if (length) [dx, dy] = [dx / length, dy / length];
        else [dx, dy] = [end === row.first ? -1 : 1, 0];
        const x = layout.x[end] + dx * section.spacing * 1.4;
        const y = layout.y[end] + dy * section.spacing * 1.4;
        const near = x > world[0] - reach && x < world[2] + reach && y > world[1] - reach && y < world[3] + reach;
        // Where another seat is in the way, the other end of the row says it.
        if (near && layout.seatAt(x, y, section.spacing * 0.1) < 0) context.fillText(row.label, x * scale, y * scale);
      }
    }
  }
}

function sectionPath(section) {
  const path = new Path2D();
  for (const line of section.outline ? [section.outline] : section.bands) {
    line.forEach(([x, y], at) => (at ? path.lineTo(x, y) : path.moveTo(x, y)));
    if (section.outline) path.closePath();
    else if (line.length === 1) path.lineTo(line[0][0] + 1e-3, line[0][1]);
  }
  return path;
}

function overlaps(a, b) {
  return a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];
}

const READABLE = new Map();

/** Black or white, whichever reads better on a `#rrggbb` colour (WCAG relative luminance). */
export function readable(colour) {
  if (!READABLE.has(colour)) {
    const part = (at) => {
      const value = parseInt(colour.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    };
    const luminance = 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
    READABLE.set(colour, luminance > 0.18 ? "#000000" : "#ffffff");
  }
  return READABLE.get(colour);
}
