/**
 * A plan as the map draws it: the flat arrays and the grid of layout.js, put together from pieces, one a section, which
 * are measured only when the section changed. So an edit in a stadium costs what its section costs. Pure.
 */

import { Grid, Layout, seatNote } from "./layout.js";
import { categoriesOf, KEY, sizeOf } from "./plan.js";

/** Section → its seats as flat arrays, and how it is drawn once that was measured; on a sheet of one size. */
const PIECES = new WeakMap();
/** How far apart seats are taken to be where nobody can tell: a lone seat on an empty plan, in world units. */
const LONE_SPACING = 12;

function pieceOf(section, size) {
  const known = PIECES.get(section);
  if (known && known.width === size.width && known.height === size.height) return known;
  const rows = section.rows ?? [];
  const count = rows.reduce((sum, row) => sum + row.seats.length, 0);
  const piece = { ...size, count, x: new Float32Array(count), y: new Float32Array(count), keys: new Float64Array(count), categoryOf: new Uint16Array(count), categories: [], numbers: new Array(count), notes: [], rows: [], measured: null };
  const numberOf = new Map();
  const category = (name) => {
    if (!numberOf.has(name)) numberOf.set(name, piece.categories.push(name) - 1);
    return numberOf.get(name);
  };
  if (section.kind === "standing") category(String(section.category ?? ""));
  let index = 0;
  for (const row of rows) {
    piece.rows.push({ label: row.label, first: index, count: row.seats.length });
    for (const seat of row.seats) {
      piece.x[index] = seat.x * size.width;
      piece.y[index] = seat.y * size.height;
      piece.keys[index] = seat[KEY];
      piece.categoryOf[index] = category(seat.category);
      piece.numbers[index] = seat.number;
      const note = seatNote(seat);
      if (note) piece.notes.push([index, note]);
      index += 1;
    }
  }
  PIECES.set(section, piece);
  return piece;
}

export class Scene extends Layout {
  constructor(plan) {
    super({ layout_id: plan.layout_id, name: plan.name, viewport: plan.viewport, shapes: plan.shapes, sections: [] });
    this.plan = plan;
    this.size = sizeOf(plan);
    const pieces = plan.sections.map((section) => pieceOf(section, this.size));
    const count = pieces.reduce((sum, piece) => sum + piece.count, 0);
    this.count = count;
    for (const name of ["x", "y", "radius"]) this[name] = new Float32Array(count);
    this.sectionOf = new Uint16Array(count);
    this.rowOf = new Uint32Array(count);
    this.categoryOf = new Uint16Array(count);
    this.keys = new Float64Array(count);
    this.numbers = [].concat(...pieces.map((piece) => piece.numbers));
    this.seatIds = [];
    this.categories = categoriesOf(plan, pieces).map((category) => category.name);
    const categoryIndex = new Map(this.categories.map((name, at) => [name, at]));
    let first = 0;
    pieces.forEach((piece, number) => {
      this._take(piece, plan.sections[number], number, first, categoryIndex);
      first += piece.count;
    });
    this.grid = new Grid(this.x, this.y, this.width, this.height);
    this.sections.forEach((section, number) => {
      if (section.count !== 1) this._measureOnce(section, pieces[number]);
    });
    this._usual = usualSpacing(this.sections);
    for (const section of this.sections) if (section.count === 1) this._measureLone(section);
    // The whole sheet is there to be drawn on, whatever is on it.
    this.box = [0, 0, this.width, this.height];
  }

  /** The index of a seat by its key, or −1. */
  indexOfKey(key) {
    if (!this._byKey) {
      this._byKey = new Map();
      for (let index = 0; index < this.count; index += 1) this._byKey.set(this.keys[index], index);
    }
    return this._byKey.get(key) ?? -1;
  }

  /** Indexes of what of `keys` is seats. */
  indexesOf(keys) {
    const found = [];
    if (keys.size > this.count / 8) {
      for (let index = 0; index < this.count; index += 1) if (keys.has(this.keys[index])) found.push(index);
    } else {
      for (const key of keys) {
        const index = this.indexOfKey(key);
        if (index >= 0) found.push(index);
      }
    }
    return found;
  }

  /** How far seats are apart on this plan, usually, in world units. */
  get spacing() {
    return this._usual;
  }

  _take(piece, section, number, first, categoryIndex) {
    const rowFirst = this.rows.length;
    this.x.set(piece.x, first);
    this.y.set(piece.y, first);
    this.keys.set(piece.keys, first);
    this.sectionOf.fill(number, first, first + piece.count);
    const names = piece.categories.map((name) => categoryIndex.get(name) ?? 0);
    for (let index = 0; index < piece.count; index += 1) this.categoryOf[first + index] = names[piece.categoryOf[index]];
    for (const [index, note] of piece.notes) this.notes.set(first + index, note);
    for (const row of piece.rows) {
      this.rowOf.fill(this.rows.length, first + row.first, first + row.first + row.count);
      this.rows.push({ label: row.label, section: number, first: first + row.first, count: row.count });
    }
    const standing = section.kind === "standing";
    this.sections.push({
      name: section.name,
      standing,
      areaId: section.area_id ?? null,
      capacity: section.capacity ?? 0,
      category: standing ? names[0] : null,
      outline: section.outline?.length > 2 ? section.outline.map(([x, y]) => [x * this.width, y * this.height]) : null,
      first,
      count: piece.count,
      rows: piece.rows.map((_, at) => rowFirst + at),
      spacing: 0,
      bands: [],
      box: null,
      label: null,
      source: section,
    });
  }

  /** Measures a section, or takes what was measured of it before: it depends on nothing else. */
  _measureOnce(section, piece) {
    if (piece.measured) {
      Object.assign(section, piece.measured);
      this._setRadius(section);
      return;
    }
    this._measure(section);
    const { spacing, bands, box, label } = section;
    piece.measured = { spacing, bands, box, label };
  }

  /** A lone seat takes its measure from the others. */
  _measureLone(section) {
    this._measure(section);
    const [x, y, pad] = [this.x[section.first], this.y[section.first], this._usual * 1.1];
    section.spacing = this._usual;
    if (!section.outline) section.box = [x - pad, y - pad, x + pad, y + pad];
    this._setRadius(section);
  }

  _setRadius({ first, count, spacing }) {
    if (!count) return;
    this.radius.fill(spacing * 0.41, first, first + count);
    this.grid.maxRadius = Math.max(this.grid.maxRadius, spacing * 0.41);
  }
}

function usualSpacing(sections) {
  const found = sections.filter((section) => section.count > 1).map((section) => section.spacing);
  found.sort((a, b) => a - b);
  return found[found.length >> 1] ?? LONE_SPACING;
}

/**
 * Where two plans look different, as boxes in world units: of rows that are not the same, and of all of a section whose
 * ground changed. Null where everything may: another sheet, other categories, other shapes.
 */
export function touchedBoxes(before, after) {
  const [old, now] = [before.plan, after.plan];
  if (old.viewport !== now.viewport || old.shapes !== now.shapes || !sameNames(before.categories, after.categories) || old.categories !== now.categories) return null;
  const boxes = [];
  const known = new Map(before.sections.map((section, number) => [old.sections[number][KEY], { section, plan: old.sections[number] }]));
  const add = (box) => box && boxes.push(box);
  after.sections.forEach((section, number) => {
    const key = now.sections[number][KEY];
    const other = known.get(key);
    known.delete(key);
    if (!other) add(section.box);
    else if (other.plan !== now.sections[number]) {
      const ground = other.section.outline || section.outline || other.section.spacing !== section.spacing;
      if (ground || !section.count || !other.section.count) {
        add(other.section.box);
        add(section.box);
      } else {
        addRows(boxes, other.plan, now.sections[number], section.spacing, after.size);
      }
    }
  });
  for (const { section } of known.values()) add(section.box);
  return boxes;
}

function addRows(boxes, before, after, spacing, size) {
  const kept = new Set(before.rows);
  const both = new Set(after.rows.filter((row) => kept.has(row)));
  // The ground of a section joins the ends of neighbouring rows, so a row reaches to the ones beside it.
  for (const rows of [before.rows, after.rows]) {
    rows.forEach((row, at) => {
      if (both.has(row)) return;
      const seats = rows.slice(Math.max(0, at - 1), at + 2).flatMap((each) => each.seats);
      const box = [Infinity, Infinity, -Infinity, -Infinity];
      for (const seat of seats) {
        const [x, y] = [seat.x * size.width, seat.y * size.height];
        box[0] = Math.min(box[0], x);
        box[1] = Math.min(box[1], y);
        box[2] = Math.max(box[2], x);
        box[3] = Math.max(box[3], y);
      }
      if (seats.length) boxes.push([box[0] - spacing * 3, box[1] - spacing * 3, box[2] + spacing * 3, box[3] + spacing * 3]);
    });
  }
}

function sameNames(a, b) {
  return a.length === b.length && a.every((name, at) => name === b[at]);
}

