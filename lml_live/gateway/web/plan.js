/**
 * The plan that is drawn: a layout as the server reads and writes it, never changed in place.
 *
 * Each edit (planedits.js) makes a new plan that shares with the old one every section, row and seat that it did not
 * touch. So a step back is the old plan itself, what was cached for a section stays good, and what an edit touched is
 * found by comparing references (docs/decisions/034). Sections, rows, seats and shapes carry a key under a symbol: a
 * name that outlives moves and new numbers, and that `JSON.stringify` does not see. Pure.
 */

import { WORLD } from "./layout.js";

export const KEY = Symbol("key");
/** Decimals of a coordinate, as the server rounds them. */
const DECIMALS = 1e5;

let lastKey = 0;

/** The same thing under a key of its own. */
export function keyed(thing) {
  lastKey += 1;
  return { ...thing, [KEY]: lastKey };
}

/** A layout's JSON as a plan. Ids of seats, hash and version follow from the rest, and are the server's. */
export function openPlan(layout) {
  const { hash: _hash, version: _version, type: _type, ...rest } = layout;
  return {
    categories: [],
    entrances: [],
    ...rest,
    shapes: (layout.shapes ?? []).map(keyed),
    sections: (layout.sections ?? []).map((section) => {
      const { rows, ...facts } = section;
      return keyed(section.kind === "standing" ? facts : { ...facts, rows: (rows ?? []).map(openRow) });
    }),
  };
}

function openRow(row) {
  return keyed({
    ...row,
    seats: row.seats.map((seat) => {
      const { seat_id: _id, ...facts } = seat;
      return keyed(facts);
    }),
  });
}

/** A plan with nothing on it. Sizes are in the plan's own units, whatever those are. */
export function emptyPlan(id, name, width = 1000, height = 700) {
  return { layout_id: id, name, viewport: { width, height }, categories: [], entrances: [], shapes: [], sections: [] };
}

/** What kind of layout the sections make it. */
export function typeOf(plan) {
  const kinds = new Set(plan.sections.map((section) => section.kind));
  if (kinds.size === 2) return "hybrid";
  return kinds.has("standing") ? "standing" : "seated";
}

const SECTION_TEXTS = new WeakMap();

/** The plan as the body of a call. What of it did not change since the last time is not written out again. */
export function textOf(plan, changes = {}) {
  const { sections, ...rest } = plan;
  const texts = sections.map((section) => {
    if (!SECTION_TEXTS.has(section)) SECTION_TEXTS.set(section, JSON.stringify(section));
    return SECTION_TEXTS.get(section);
  });
  const head = JSON.stringify({ ...rest, type: typeOf(plan), ...changes });
  return `${head.slice(0, -1)},"sections":[${texts.join(",")}]}`;
}

/** The plan's size in world units, in which everything is drawn: its longer side is `WORLD`. */
export function sizeOf(plan) {
  const { width, height } = plan.viewport;
  const unit = WORLD / Math.max(width, height);
  return { width: width * unit, height: height * unit };
}

/** How many world units the plan's own unit is. */
export function unitOf(plan) {
  return WORLD / Math.max(plan.viewport.width, plan.viewport.height);
}

/** A place in world units as the plan keeps it: from 0 to 1, rounded, never outside. */
export function placed(size, x, y) {
  const part = (value, whole) => Math.round(Math.max(0, Math.min(1, value / whole)) * DECIMALS) / DECIMALS;
  return [part(x, size.width), part(y, size.height)];
}

/** Calls `visit(seat, row, section)` for every seat, in canonical order. */
export function eachSeat(plan, visit) {
  for (const section of plan.sections) for (const row of section.rows ?? []) for (const seat of row.seats) visit(seat, row, section);
}

export function countSeats(plan) {
  let count = 0;
  for (const section of plan.sections) for (const row of section.rows ?? []) count += row.seats.length;
  return count;
}

/** Seats and standing places together. */
export function countPlaces(plan) {
  return countSeats(plan) + plan.sections.reduce((sum, section) => sum + (section.capacity ?? 0), 0);
}

/**
 * Every category: those that the plan lists, then those that are only used, each once.
 * @param {{categories: string[]}[]} [pieces] what each section uses, where that is known already
 */
export function categoriesOf(plan, pieces = null) {
  const found = new Map(plan.categories.map((category) => [category.name, category]));
  const use = (name) => name && !found.has(name) && found.set(name, { name });
  if (pieces) for (const piece of pieces) piece.categories.forEach(use);
  else {
    for (const section of plan.sections) {
      use(section.category);
      for (const row of section.rows ?? []) for (const seat of row.seats) use(seat.category);
    }
  }
  return [...found.values()];
}

/** The rows of which all or some seats are among `keys`: `[{section, row, seats, whole}]`. */
export function rowsAmong(plan, keys) {
  const found = [];
  for (const section of plan.sections) {
    for (const row of section.rows ?? []) {
      const seats = row.seats.filter((seat) => keys.has(seat[KEY]));
      if (seats.length) found.push({ section, row, seats, whole: seats.length === row.seats.length });
    }
  }
  return found;
}

/** The seats of `keys` with where they are. */
export function seatsAmong(plan, keys) {
  return rowsAmong(plan, keys).flatMap(({ section, row, seats }) => seats.map((seat) => ({ section, row, seat })));
}

/** `name`, or with the first number behind it that makes it new. */
export function freeName(name, taken) {
  if (!taken.has(name)) return name;
  // Of a longer number the end is counted: beyond 2^53 one more is no other number.
  const [, stem, digits] = /^(.*?)(\d{0,9})$/su.exec(name);
  const glue = digits ? stem : `${stem} `;
  for (let number = digits ? Number(digits) + 1 : 2; ; number += 1) {
    if (!taken.has(`${glue}${number}`)) return `${glue}${number}`;
  }
}

/** What the server takes for an id. */
export const ID = /^[A-Za-z0-9-]{1,64}$/;

/** An id (`ID`) of what a person calls something. */
export function idOf(name, taken = new Set()) {
  const plain = name.normalize("NFD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "").toLowerCase().slice(0, 50) || "area";
  for (let number = 1; ; number += 1) {
    const id = number === 1 ? plain : `${plain}-${number}`;
    if (!taken.has(id)) return id;
  }
}
