/** The inspector: what is chosen and what can be done to it, or what the tool in hand is set to. */

import { fill } from "./dom.js";
import { brushForm, areaToolForm, rowToolForm, shapeToolForm } from "./layouttoolforms.js";
import { categoryChoices, noRows, numberingParts } from "./layoutcategories.js";
import { button, buttonRow, checkField, form, group, numberField, selectField, textField, words } from "./layoutforms.js";
import { planForm } from "./layoutplanform.js";
import { align, changeSections, changeSeats, duplicate, mark, move, moveToSection, remove, setFacts } from "./planedits.js";
import { ID, KEY, rowsAmong } from "./plan.js";
import { KINDS } from "./plannumbers.js";
import { bend, common, pointsOf, recount, relabelRows, renumber } from "./planrenumber.js";
import { ROW_SEATS_MAX, sagittaOf } from "./planrows.js";
import { plural } from "./words.js";

const FACTS = Object.freeze({
  accessible: "Wheelchair place",
  companion: "Companion seat",
  restricted_view: "Restricted view",
  aisle: "On the aisle",
  easy_access: "Few or no steps",
  hearing_loop: "Hearing loop",
  lift_up_armrests: "Armrests lift up",
  plus_size: "Wide seat",
  sign_language: "Sees the sign language",
});
const HOUSE_FACTS = new Set(["accessible", "companion", "restricted_view"]);
const PLACES_MAX = 1_000_000;

export class Inspector {
  constructor(editor, parent) {
    this.editor = editor;
    this.parent = parent;
    this.kind = null;
    this.forms = {};
    this.look();
  }

  /** What the forms ask of what is chosen, found out once for all of them. */
  look() {
    const { plan, chosen } = this.editor;
    const rows = rowsAmong(plan, chosen);
    const seats = rows.flatMap((each) => each.seats);
    const areas = plan.sections.filter((section) => section.kind === "standing" && chosen.has(section[KEY]));
    const shapes = plan.shapes.filter((shape) => chosen.has(shape[KEY]));
    this.chosen = { rows, seats, areas, shapes };
  }

  update() {
    this.look();
    const kind = this._kindNow();
    if (kind !== this.kind) {
      this.kind = kind;
      this.forms[kind] ??= MAKERS[kind](this.editor, this);
      fill(this.parent, this.forms[kind].node);
    }
    this.forms[kind].update();
  }

  _kindNow() {
    const { tools, chosen } = this.editor;
    const { seats, areas, shapes } = this.chosen;
    if (tools.name === "brush") return "brush";
    if (!chosen.size || !(seats.length + areas.length + shapes.length)) return { row: "row", area: "area", shape: "shape" }[tools.name] ?? "plan";
    if (seats.length) return "seats";
    if (areas.length === 1 && !shapes.length) return "oneArea";
    if (shapes.length === 1 && !areas.length) return "oneShape";
    return "mixed";
  }
}

/** Moving by numbers, copying and taking away: for whatever is chosen. */
function placeParts(editor) {
  const step = { x: 0, y: 0 };
  const go = () => {
    const unit = editor.unit;
    editor.act("Move", move(editor.plan, editor.chosen, step.x * unit, step.y * unit));
  };
  return [
    group(
      "Place",
      [
        numberField("move-x", "Move right by", { get: () => step.x, set: (value) => void (step.x = value) }),
        numberField("move-y", "Move down by", { get: () => step.y, set: (value) => void (step.y = value) }),
        button("Move", go, { full: true }),
      ],
      { submit: go },
    ),
    buttonRow(
      button("Duplicate", () => duplicateChosen(editor), { title: "Ctrl+D" }),
      button("Delete", () => deleteChosen(editor), { title: "Delete" }),
    ),
  ];
}

export function duplicateChosen(editor) {
  const step = editor.snapUnit();
  const made = duplicate(editor.plan, editor.chosen, step, step);
  if (made.keys.size) editor.act("Duplicate", made.plan, { choose: made.keys });
}

export function deleteChosen(editor) {
  if (editor.chosen.size) editor.act("Delete", remove(editor.plan, editor.chosen), { choose: new Set() });
}

function categoryField(editor, id, get) {
  return selectField(id, "Category", { full: true, get, set: (name) => editor.paintKeys(editor.chosen, name), options: () => categoryChoices(editor) });
}

function seatsForm(editor, inspector) {
  const of = () => inspector.chosen;
  const sections = () => [...new Set(of().rows.map(({ section }) => section))];
  const oneSection = () => (sections().length === 1 ? sections()[0] : null);
  const oneRow = () => (of().rows.length === 1 ? of().rows[0] : null);
  const oneSeat = () => (of().seats.length === 1 ? of().seats[0] : null);
  const heading = () => {
    const { rows, seats, areas, shapes } = of();
    const others = [[areas.length, "area"], [shapes.length, "shape"]].filter(([count]) => count).map(([count, noun]) => `, ${plural(count, noun)}`);
    if (oneSeat() && !others.length) return `Seat ${oneSeat().number}`;
    return `${plural(seats.length, "seat")}${rows.length > 1 ? ` in ${plural(rows.length, "row")}` : ""}${others.join("")}`;
  };
  const where = () => {
    const names = sections().map((section) => section.name);
    const row = oneRow() ? `, row ${oneRow().row.label}` : "";
    return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ") + row;
  };
  const has = (fact) => common(of().seats, (seat) => (HOUSE_FACTS.has(fact) ? Boolean(seat[fact]) : (seat.features ?? []).includes(fact)));
  const names = { kind: "letters", start: "A", step: 1, skip: "", reversed: false };
  const numberNow = () => {
    const plan = renumber(editor.plan, editor.chosen, editor.settings.numbers);
    if (plan) editor.act("Number seats", plan);
    else editor.say("These numbers do not work out: they must stay from 0 to 999,999, and fit odd or even.");
  };
  const nameNow = () => {
    const plan = relabelRows(editor.plan, editor.chosen, names, names.reversed);
    if (plan) editor.act("Name rows", plan);
    else editor.say("These names do not work out: the first one does not fit.");
  };
  const aligned = (way, text, title) => button(text, () => editor.act("Align", align(editor.plan, editor.chosen, way)), { title });
  const bent = () => {
    const { rows } = of();
    const found = common(rows, ({ seats }) => Math.round((sagittaOf(pointsOf(editor.plan, seats)) / editor.unit) * 100) / 100);
    return found === undefined ? null : found;
  };
  return form(
    words("h2", heading),
    words("p", where, { class: "muted small" }),
    group(null, [
      textField("seat-number", "Number", { when: () => oneSeat() !== null, get: () => oneSeat()?.number, set: (number) => (number ? void editor.act("Number a seat", changeSeats(editor.plan, editor.chosen, (seat) => ({ ...seat, number }))) : "A number is expected.") }),
      textField("row-label", "Row", { when: () => oneRow() !== null, get: () => oneRow()?.row.label, set: (label) => (label ? void editor.act("Name a row", setFacts(editor.plan, oneRow().row[KEY], { label })) : "A label is expected.") }),
      numberField("row-count", "Seats", { when: () => oneRow()?.whole ?? false, whole: true, least: 1, most: ROW_SEATS_MAX, get: () => of().seats.length, set: (count) => {
        const made = recount(editor.plan, oneRow().row[KEY], count);
        return void editor.act("Change the seats of a row", made.plan, { choose: made.keys });
      } }),
      textField("section-name", "Section", { when: () => oneSection() !== null, get: () => oneSection()?.name, set: (name) => (name ? void editor.act("Name a section", changeSections(editor.plan, new Set([oneSection()[KEY]]), (section) => ({ ...section, name }))) : "A name is expected.") }),
      categoryField(editor, "seats-category", () => common(of().seats, (seat) => seat.category)),
      textField("to-section", "Move to section", { full: true, placeholder: "A section's name, or a new one", get: () => "", set: (name) => noRows(editor, name) ?? (name ? void editor.act("Move to a section", moveToSection(editor.plan, editor.chosen, name)) : undefined), suggestions: () => editor.plan.sections.filter((section) => section.kind === "seated").map((section) => section.name) }),
    ]),
    group("Seat numbers", [...numberingParts(editor, "renumber"), button("Number the seats", numberNow, { full: true, primary: true })], { submit: numberNow }),
    group(
      "Row names",
      [
        selectField("rows-kind", "Kind", { get: () => names.kind, set: (kind) => {
          names.kind = kind;
          names.start = kind === "letters" ? "A" : kind === "even" ? "2" : "1";
          editor.updatePanel();
        }, options: () => Object.entries(KINDS) }),
        textField("rows-start", "First", { get: () => names.start, set: (start) => void (names.start = start) }),
        checkField("rows-skip", "Leave out I and O", { when: () => names.kind === "letters", get: () => names.skip !== "", set: (on) => void (names.skip = on ? "IO" : "") }),
        checkField("rows-reversed", "From the last row", { get: () => names.reversed, set: (on) => void (names.reversed = on) }),
        button("Name the rows", nameNow, { full: true }),
      ],
      { when: () => of().rows.length > 1, submit: nameNow },
    ),
    group("Shape", [
      numberField("row-bend", "Curve", { get: bent, set: (value) => void editor.act("Bend rows", bend(editor.plan, editor.chosen, value * editor.unit)), placeholder: "Several" }),
      button("Space evenly", () => editor.act("Space evenly", evenly(editor, of().rows))),
    ], { when: () => of().rows.some(({ seats }) => seats.length > 1) }),
    group("Line up", [], { when: () => of().seats.length > 1 }),
    buttonRow(aligned("left", "Left"), aligned("centre", "Centre"), aligned("right", "Right")),
    buttonRow(aligned("top", "Top"), aligned("middle", "Middle"), aligned("bottom", "Bottom")),
    ...placeParts(editor),
    group("Said of the seats", Object.entries(FACTS).map(([fact, label]) => checkField(`fact-${fact}`, label, { get: () => has(fact), set: (on) => editor.act(on ? `Mark: ${label.toLowerCase()}` : `Unmark: ${label.toLowerCase()}`, mark(editor.plan, editor.chosen, fact, on)) }))),
    group("Sold as a whole", [
      checkField("row-whole", "This row, as a table", { when: () => oneRow()?.whole ?? false, get: () => Boolean(oneRow()?.row.sold_whole), set: (on) => editor.act("Sell a row whole", setFacts(editor.plan, oneRow().row[KEY], { sold_whole: on })) }),
      checkField("section-whole", "This section, as a box", { when: () => oneSection() !== null, get: () => Boolean(oneSection()?.sold_whole), set: (on) => editor.act("Sell a section whole", setFacts(editor.plan, oneSection()[KEY], { sold_whole: on })) }),
    ], { when: () => oneSection() !== null }),
  );
}

function evenly(editor, rows) {
  let { plan } = editor;
  for (const { seats } of rows) plan = bend(plan, new Set(seats.map((seat) => seat[KEY])), sagittaOf(pointsOf(plan, seats)));
  return plan;
}

function areaForm(editor, inspector) {
  const area = () => inspector.chosen.areas[0] ?? {};
  const set = (name, facts) => editor.act(name, setFacts(editor.plan, area()[KEY], facts));
  return form(
    words("h2", () => area().name ?? ""),
    words("p", () => "Standing area: places, no seats.", { class: "muted small" }),
    group(null, [
      textField("area-name", "Name", { full: true, get: () => area().name, set: (name) => (name ? void set("Name an area", { name }) : "A name is expected.") }),
      numberField("area-capacity", "Places", { get: () => area().capacity, whole: true, least: 1, most: PLACES_MAX, set: (capacity) => void set("Change places", { capacity }) }),
      textField("area-id", "Id", { get: () => area().area_id, set: (id) => (ID.test(id) ? void set("Change an area's id", { area_id: id }) : "1 to 64 of A to Z, a to z, 0 to 9 and - are expected.") }),
      categoryField(editor, "area-category", () => area().category),
    ]),
    ...placeParts(editor),
  );
}

function shapeForm(editor, inspector) {
  const shape = () => inspector.chosen.shapes[0] ?? {};
  const set = (facts) => editor.act("Change decoration", setFacts(editor.plan, shape()[KEY], facts));
  return form(
    words("h2", () => shape().label || shape().kind || ""),
    words("p", () => "Decoration: nothing is sold here.", { class: "muted small" }),
    group(null, [
      textField("shape-label", "Text", { full: true, get: () => shape().label, set: (label) => void set({ label }) }),
      textField("shape-kind", "Kind", { full: true, get: () => shape().kind, set: (kind) => (kind ? void set({ kind }) : "A kind is expected."), suggestions: () => ["stage", "pitch", "bar", "wall", "desk"] }),
    ]),
    ...placeParts(editor),
  );
}

function mixedForm(editor, inspector) {
  const of = () => inspector.chosen;
  const heading = () => [[of().areas.length, "area"], [of().shapes.length, "shape"]].filter(([count]) => count).map(([count, noun]) => plural(count, noun)).join(", ");
  return form(
    words("h2", heading),
    group(null, [categoryField(editor, "mixed-category", () => common(of().areas, (each) => each.category))]),
    ...placeParts(editor),
  );
}

const MAKERS = {
  seats: seatsForm,
  oneArea: areaForm,
  oneShape: shapeForm,
  mixed: mixedForm,
  plan: planForm,
  row: rowToolForm,
  area: areaToolForm,
  shape: shapeToolForm,
  brush: brushForm,
};
