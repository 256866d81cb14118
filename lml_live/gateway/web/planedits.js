/**
 * What can be done to a plan: each edit takes a plan and answers a new one that shares what was not touched, or the very
 * same one where nothing changed. Seats are named by their keys; places and distances are in world units. Pure.
 */

import { categoriesOf, freeName, idOf, KEY, keyed, placed, rowsAmong, sizeOf } from "./plan.js";

/** Changes seats; `change(seat, row, section)` answers the new seat, the same one, or null to take it away. Rows without
 * seats go, and sections that lost their last row. */
export function changeSeats(plan, keys, change) {
  if (!keys.size) return plan;
  let changed = false;
  const sections = [];
  for (const section of plan.sections) {
    const rows = section.rows && changeRows(section, keys, change);
    if (!rows || rows === section.rows) sections.push(section);
    else {
      changed = true;
      if (rows.length) sections.push({ ...section, rows });
    }
  }
  return changed ? { ...plan, sections } : plan;
}

function changeRows(section, keys, change) {
  let touched = false;
  const rows = [];
  for (const row of section.rows) {
    let seats = null;
    row.seats.forEach((seat, at) => {
      const now = keys.has(seat[KEY]) ? change(seat, row, section) : seat;
      if (now !== seat && !seats) seats = row.seats.slice(0, at);
      if (seats && now) seats.push(now);
    });
    if (seats) touched = true;
    if (!seats || seats.length) rows.push(seats ? { ...row, seats } : row);
  }
  return touched ? rows : section.rows;
}

/** The seat with other facts; empty ones are left out, as the server leaves them out. */
export function withFacts(thing, facts) {
  const changed = { ...thing };
  for (const [name, value] of Object.entries(facts)) {
    const empty = value === false || value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);
    if (empty) delete changed[name];
    else changed[name] = value;
  }
  return changed;
}

/** Gives seats, and areas among `keys`, a price category. */
export function paint(plan, keys, category) {
  const painted = changeSeats(plan, keys, (seat) => (seat.category === category ? seat : { ...seat, category }));
  return changeSections(painted, keys, (section) => (section.kind !== "standing" || section.category === category ? section : { ...section, category }));
}

/** Sets or takes away what is said of seats: `accessible`, `companion`, `restricted_view`, or one of the features. */
export function mark(plan, keys, fact, on) {
  return changeSeats(plan, keys, (seat) => {
    if (["accessible", "companion", "restricted_view"].includes(fact)) return Boolean(seat[fact]) === on ? seat : withFacts(seat, { [fact]: on });
    const features = new Set(seat.features);
    if (features.has(fact) === on) return seat;
    if (on) features.add(fact);
    else features.delete(fact);
    return withFacts(seat, { features: [...features].sort() });
  });
}

/** Changes the sections among `keys`. */
export function changeSections(plan, keys, change) {
  let changed = false;
  const sections = plan.sections.map((section) => {
    const now = keys.has(section[KEY]) ? change(section) : section;
    changed ||= now !== section;
    return now;
  });
  return changed ? { ...plan, sections: sections.filter(Boolean) } : plan;
}

/** Other facts of one section, row or shape, wherever it is. */
export function setFacts(plan, key, facts) {
  const one = new Set([key]);
  const inSections = changeSections(plan, one, (section) => withFacts(section, facts));
  if (inSections !== plan) return inSections;
  const shapes = plan.shapes.map((shape) => (shape[KEY] === key ? withFacts(shape, facts) : shape));
  if (shapes.some((shape, at) => shape !== plan.shapes[at])) return { ...plan, shapes };
  const sections = plan.sections.map((section) => {
    const at = section.rows?.findIndex((row) => row[KEY] === key) ?? -1;
    return at < 0 ? section : { ...section, rows: section.rows.with(at, withFacts(section.rows[at], facts)) };
  });
  return sections.some((section, at) => section !== plan.sections[at]) ? { ...plan, sections } : plan;
}

// ---- places

function movedPoint(size, [x, y], dx, dy) {
  return placed(size, x * size.width + dx, y * size.height + dy);
}

/** How far seats, areas and shapes may be moved without leaving the plan: the step that is left of (dx, dy). */
export function stepWithin(plan, keys, dx, dy) {
  const size = sizeOf(plan);
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  eachPoint(plan, keys, ([x, y]) => {
    [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
  });
  const within = (step, from, to, whole) => Math.max(-from * whole, Math.min((1 - to) * whole, step));
  return x0 === Infinity ? [0, 0] : [within(dx, x0, x1, size.width), within(dy, y0, y1, size.height)];
}

/** Every place of what is among `keys`, as parts of the plan: seats, outlines, shapes. */
export function eachPoint(plan, keys, visit) {
  for (const section of plan.sections) {
    if (keys.has(section[KEY])) for (const point of section.outline ?? []) visit(point);
    for (const row of section.rows ?? []) for (const seat of row.seats) if (keys.has(seat[KEY])) visit([seat.x, seat.y]);
  }
  for (const shape of plan.shapes) if (keys.has(shape[KEY])) for (const point of shape.points) visit(point);
}

/** Moves seats, and sections' outlines and shapes among `keys`, no further than the plan reaches. An outline goes with
 * its section where all of its seats do; a table with its row. */
export function move(plan, keys, dx, dy) {
  const size = sizeOf(plan);
  [dx, dy] = stepWithin(plan, keys, dx, dy);
  if (!dx && !dy) return plan;
  const by = (point) => movedPoint(size, point, dx, dy);
  const whole = new Set(plan.sections.filter((section) => section.rows?.length && section.rows.every((row) => row.seats.every((seat) => keys.has(seat[KEY])))).map((section) => section[KEY]));
  const moved = changeSeats(plan, keys, (seat) => {
    const [x, y] = by([seat.x, seat.y]);
    return { ...seat, x, y };
  });
  const sections = moved.sections.map((section, at) => {
    const before = plan.sections[at];
    let now = section;
    if (section.outline && (keys.has(section[KEY]) || whole.has(section[KEY]))) now = { ...now, outline: section.outline.map(by) };
    if (now.rows && now.rows !== before.rows && now.rows.some((row, n) => row.table && row !== before.rows[n])) {
      const tables = now.rows.map((row, n) => {
        if (!row.table || row === before.rows[n]) return row;
        const [x, y] = by([row.table.x, row.table.y]);
        return { ...row, table: { ...row.table, x, y } };
      });
      now = { ...now, rows: tables };
    }
    return now;
  });
  const shapes = plan.shapes.some((shape) => keys.has(shape[KEY])) ? plan.shapes.map((shape) => (keys.has(shape[KEY]) ? { ...shape, points: shape.points.map(by) } : shape)) : plan.shapes;
  return { ...moved, sections, shapes };
}

/** Puts seats at new places. @param {Map<number, number[]>} places by key, in world units */
export function place(plan, places) {
  const size = sizeOf(plan);
  return changeSeats(plan, new Set(places.keys()), (seat) => {
    const [x, y] = placed(size, ...places.get(seat[KEY]));
    return x === seat.x && y === seat.y ? seat : { ...seat, x, y };
  });
}

/** Lines seats up: `left`, `centre`, `right`, `top`, `middle`, `bottom`. */
export function align(plan, keys, way) {
  const size = sizeOf(plan);
  const points = [];
  changeSeats(plan, keys, (seat) => {
    points.push([seat[KEY], seat.x * size.width, seat.y * size.height]);
    return seat;
  });
  const across = ["left", "centre", "right"].includes(way);
  const values = points.map((point) => point[across ? 1 : 2]);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const line = { left: least, top: least, right: most, bottom: most, centre: (least + most) / 2, middle: (least + most) / 2 }[way];
  return place(plan, new Map(points.map(([key, x, y]) => [key, across ? [line, y] : [x, line]])));
}

// ---- what there is

/** Takes seats, areas and shapes away. */
export function remove(plan, keys) {
  const left = changeSections(changeSeats(plan, keys, () => null), keys, () => null);
  const shapes = left.shapes.filter((shape) => !keys.has(shape[KEY]));
  return shapes.length === left.shapes.length ? left : { ...left, shapes };
}

/** The section of that name; without one a new seated one at the end. @returns {[object, object]} plan, section */
export function sectionNamed(plan, name) {
  const known = plan.sections.find((section) => section.name === name);
  if (known) return [plan, known];
  const made = keyed({ name, kind: "seated", rows: [] });
  return [{ ...plan, sections: [...plan.sections, made] }, made];
}

/**
 * Adds rows to a section, which is made where there is none of that name.
 * @param {{label: string, numbers: string[], points: number[][]}[]} rows places in world units
 * @returns {{plan: object, keys: Set<number>}} with the keys of the new seats
 */
export function addRows(plan, sectionName, rows, category) {
  const size = sizeOf(plan);
  const [grown, section] = sectionNamed(plan, sectionName);
  const keys = new Set();
  const made = rows.map(({ label, numbers, points }) => {
    const seats = points.map((point, at) => {
      const [x, y] = placed(size, ...point);
      const seat = keyed({ number: numbers[at], x, y, category });
      keys.add(seat[KEY]);
      return seat;
    });
    return keyed({ label, seats });
  });
  const sections = grown.sections.map((each) => (each === section ? { ...each, rows: [...(each.rows ?? []), ...made] } : each));
  return { plan: listCategory({ ...grown, sections }, category), keys };
}

/** Adds a standing area with an outline in world units. @returns {{plan: object, keys: Set<number>}} */
export function addArea(plan, { name, capacity, category, outline }) {
  const size = sizeOf(plan);
  const taken = new Set(plan.sections.map((section) => section.area_id).filter(Boolean));
  const area = keyed({ name, kind: "standing", area_id: idOf(name, taken), capacity, category, outline: outline.map((point) => placed(size, ...point)) });
  return { plan: listCategory({ ...plan, sections: [...plan.sections, area] }, category), keys: new Set([area[KEY]]) };
}

/** Adds decoration, such as a stage. @returns {{plan: object, keys: Set<number>}} */
export function addShape(plan, { kind, label, points }) {
  const size = sizeOf(plan);
  const shape = keyed({ kind, ...(label && { label }), points: points.map((point) => placed(size, ...point)) });
  return { plan: { ...plan, shapes: [...plan.shapes, shape] }, keys: new Set([shape[KEY]]) };
}

/** Copies what is among `keys`, a step aside: rows get the next free labels, areas and shapes names of their own. */
export function duplicate(plan, keys, dx, dy) {
  const size = sizeOf(plan);
  [dx, dy] = stepWithin(plan, keys, dx, dy);
  const fresh = new Set();
  const by = (point) => movedPoint(size, point, dx, dy);
  const copy = (thing) => {
    const made = keyed(thing);
    fresh.add(made[KEY]);
    return made;
  };
  const sections = plan.sections.map((section) => {
    const taken = new Set(section.rows?.map((row) => row.label));
    const copies = rowsAmong({ sections: [section] }, keys).map(({ row, seats }) => {
      const label = freeName(row.label, taken);
      taken.add(label);
      const [x, y] = row.table ? by([row.table.x, row.table.y]) : [];
      const moved = seats.map((seat) => {
        const [seatX, seatY] = by([seat.x, seat.y]);
        return copy({ ...seat, x: seatX, y: seatY });
      });
      return keyed({ ...row, label, seats: moved, ...(row.table && { table: { ...row.table, x, y } }) });
    });
    return copies.length ? { ...section, rows: [...section.rows, ...copies] } : section;
  });
  const [names, ids] = [new Set(sections.map((section) => section.name)), new Set(sections.map((section) => section.area_id))];
  for (const area of plan.sections) {
    if (area.kind !== "standing" || !keys.has(area[KEY])) continue;
    const name = freeName(area.name, names);
    const id = idOf(name, ids);
    names.add(name);
    ids.add(id);
    sections.push(copy({ ...area, name, area_id: id, ...(area.outline && { outline: area.outline.map(by) }) }));
  }
  const shapes = [...plan.shapes, ...plan.shapes.filter((shape) => keys.has(shape[KEY])).map((shape) => copy({ ...shape, points: shape.points.map(by) }))];
  return { plan: fresh.size ? { ...plan, sections, shapes } : plan, keys: fresh };
}

/** Puts the rows that are among `keys` into another section. Of rows of which only some seats are, those go, as a row of
 * their own. */
export function moveToSection(plan, keys, name) {
  const rows = rowsAmong(plan, keys).filter(({ section }) => section.name !== name);
  if (!rows.length) return plan;
  const gone = new Set(rows.flatMap(({ seats }) => seats.map((seat) => seat[KEY])));
  // The section is there before the seats leave theirs, or the last one of it would take its order with it.
  const [grown, target] = sectionNamed(plan, name);
  const taken = new Set(target.rows?.map((row) => row.label));
  const arriving = rows.map(({ row, seats, whole }) => {
    const label = freeName(row.label, taken);
    taken.add(label);
    return whole ? { ...row, label } : keyed({ label, seats });
  });
  const left = changeSeats(grown, gone, () => null);
  const sections = left.sections.map((section) => (section[KEY] === target[KEY] ? { ...section, rows: [...section.rows, ...arriving] } : section));
  return { ...left, sections };
}

// ---- categories

/** Lists a category. A plan that lists one has to list all, so with the first one all that are used are listed. */
export function listCategory(plan, name, color = undefined) {
  if (plan.categories.some((category) => category.name === name)) return plan;
  const known = plan.categories.length ? plan.categories : categoriesOf(plan);
  const categories = known.some((category) => category.name === name) ? known : [...known, withFacts({ name }, { color })];
  return { ...plan, categories };
}

/** Another name or colour of a category, everywhere. */
export function changeCategory(plan, name, facts) {
  const categories = plan.categories.map((category) => (category.name === name ? withFacts(category, facts) : category));
  const recoloured = { ...plan, categories };
  if (!facts.name || facts.name === name) return recoloured;
  const used = new Set();
  for (const section of plan.sections) {
    if (section.kind === "standing" && section.category === name) used.add(section[KEY]);
    for (const row of section.rows ?? []) for (const seat of row.seats) if (seat.category === name) used.add(seat[KEY]);
  }
  return paint(recoloured, used, facts.name);
}

/** Takes a category off the list that nothing is sold in. */
export function dropCategory(plan, name) {
  return { ...plan, categories: plan.categories.filter((category) => category.name !== name) };
}
