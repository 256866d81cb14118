/**
 * A plan as the map draws it: the flat arrays and the grid of layout.js, put together from pieces, one a section, which
 * are measured only when the section changed. So an edit in a stadium costs what its section costs. Pure.
 */

import { Grid, Layout } from "./layout.js";
import { categoriesOf, KEY, sizeOf } from "./plan.js";

/** Section → what was measured of it, for one shape of plan and list of categories. */
const PIECES = new WeakMap();
/** How far apart seats are taken to be where nobody can tell: a lone seat on an empty plan, in world units. */
const LONE_SPACING = 12;

function pieceOf(plan, section) {
  const { width, height } = plan.viewport;
  const known = PIECES.get(section);
  if (known && known.ratio === width / height) return known;
  const measured = new Layout({ viewport: plan.viewport, sections: [section] });
  const made = { ratio: width / height, layout: measured, lone: measured.count === 1 };
  PIECES.set(section, made);
  return made;
}

export class Scene extends Layout {
  constructor(plan) {
    super({ layout_id: plan.layout_id, name: plan.name, viewport: plan.viewport, shapes: plan.shapes, sections: [] });
    this.plan = plan;
    const pieces = plan.sections.map((section) => pieceOf(plan, section));
    const count = pieces.reduce((sum, piece) => sum + piece.layout.count, 0);
    this.count = count;
    for (const name of ["x", "y", "radius"]) this[name] = new Float32Array(count);
    this.sectionOf = new Uint16Array(count);
    this.rowOf = new Uint32Array(count);
    this.categoryOf = new Uint16Array(count);
    this.keys = new Float64Array(count);
    this.numbers = [];
    this.seatIds = [];
    this.categories = categoriesOf(plan).map((category) => category.name);
    const categoryIndex = new Map(this.categories.map((name, at) => [name, at]));
    this._usual = usualSpacing(pieces);
    let first = 0;
    pieces.forEach((piece, number) => {
      this._take(piece, number, first, categoryIndex);
      first += piece.layout.count;
    });
    this._readKeys(plan);
    this.content = this._wholeBox();
    this.grid = new Grid(this.x, this.y, this.width, this.height);
    for (const { layout, lone } of pieces) if (layout.count) this.grid.maxRadius = Math.max(this.grid.maxRadius, lone ? this._usual * 0.41 : layout.grid.maxRadius);
    // The whole sheet is there to be drawn on, whatever is on it.
    this.box = [0, 0, this.width, this.height];
    this.size = sizeOf(plan);
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

  _take({ layout, lone }, number, first, categoryIndex) {
    const rowFirst = this.rows.length;
    this.x.set(layout.x, first);
    this.y.set(layout.y, first);
    if (lone) this.radius[first] = this._usual * 0.41;
    else this.radius.set(layout.radius, first);
    const names = layout.categories.map((name) => categoryIndex.get(name) ?? 0);
    for (let index = 0; index < layout.count; index += 1) {
      this.sectionOf[first + index] = number;
      this.rowOf[first + index] = rowFirst + layout.rowOf[index];
      this.categoryOf[first + index] = names[layout.categoryOf[index]];
      this.numbers.push(layout.numbers[index]);
    }
    for (const [index, note] of layout.notes) this.notes.set(first + index, note);
    for (const row of layout.rows) this.rows.push({ ...row, section: number, first: first + row.first });
    const [section] = layout.sections;
    const moved = { ...section, first, rows: section.rows.map((row) => rowFirst + row), category: section.category === null ? null : names[section.category], source: section };
    if (lone) {
      moved.spacing = this._usual;
      const [x, y, pad] = [layout.x[0], layout.y[0], this._usual * 1.1];
      if (!section.outline) moved.box = [x - pad, y - pad, x + pad, y + pad];
    }
    this.sections.push(moved);
  }

  _readKeys(plan) {
    let index = 0;
    for (const section of plan.sections) {
      for (const row of section.rows ?? []) {
        for (const seat of row.seats) {
          this.keys[index] = seat[KEY];
          index += 1;
        }
      }
    }
  }
}

function usualSpacing(pieces) {
  const found = pieces.filter((piece) => piece.layout.count > 1).map((piece) => piece.layout.sections[0].spacing);
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

