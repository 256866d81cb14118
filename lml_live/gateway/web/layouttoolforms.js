/** What the tools that draw are set to, and the same by numbers for those who draw without a mouse. */

import { categoryChoices, categoryList, categoryParts, noRows, numberingParts } from "./layoutcategories.js";
import { button, buttonRow, form, group, numberField, selectField, textField, words } from "./layoutforms.js";
import { BLOCK_ROWS_MAX, ROW_SEATS_MAX } from "./planrows.js";

/** A length in world units, as a number of the plan's own. */
function lengthField(editor, id, label, store, name, bounds = {}) {
  return numberField(id, label, {
    ...bounds,
    get: () => store[name] / editor.unit,
    set: (value) => {
      store[name] = value * editor.unit;
      editor.updatePanel();
    },
  });
}

function toolCategory(editor, id) {
  return selectField(id, "Category", {
    full: true,
    get: () => editor.brushCategory(),
    set: (name) => editor.takeCategory(name),
    options: () => (editor.scene.categories.length ? categoryChoices(editor) : [[editor.brushCategory(), editor.brushCategory()]]),
  });
}

export function rowToolForm(editor) {
  const { row } = editor.settings;
  const ends = { x0: 200, y0: 200, x1: 600, y1: 200 };
  const draw = () => editor.drawRows([ends.x0, ends.y0], [ends.x1, ends.y1]);
  const end = (id, label, name) => lengthField(editor, id, label, ends, name);
  return form(
    words("h2", () => "Draw rows"),
    words("p", () => "Drag on the sheet, or type both ends.", { class: "muted small" }),
    group(null, [
      textField("draw-section", "Section", { get: () => editor.sectionToDraw(), set: (name) => noRows(editor, name) ?? void (row.section = name), suggestions: () => editor.plan.sections.filter((section) => section.kind === "seated").map((section) => section.name) }),
      textField("draw-label", "First row", { get: () => row.label || editor.nextLabel(), set: (label) => void (row.label = label) }),
      toolCategory(editor, "draw-category"),
      numberField("draw-rows", "Rows", { whole: true, least: 1, most: BLOCK_ROWS_MAX, get: () => row.rows, set: (value) => void (row.rows = value) }),
      numberField("draw-count", "Seats a row", { whole: true, least: 1, most: ROW_SEATS_MAX, empty: true, placeholder: "By spacing", get: () => row.count || null, set: (value) => void (row.count = value ?? 0) }),
      lengthField(editor, "draw-spacing", "Seat spacing", row, "spacing", { least: 0.001 }),
      lengthField(editor, "draw-row-spacing", "Row spacing", row, "rowSpacing"),
      lengthField(editor, "draw-bend", "Curve", row, "sagitta"),
    ]),
    group("Seat numbers", numberingParts(editor, "draw-number")),
    group(
      "From and to",
      [end("draw-x0", "From x", "x0"), end("draw-y0", "From y", "y0"), end("draw-x1", "To x", "x1"), end("draw-y1", "To y", "y1"), button("Add rows", draw, { full: true, primary: true, id: "draw-go" })],
      { submit: draw },
    ),
  );
}

/** Left, top, width and height, for what is drawn as a box. */
function boxGroup(editor, id, draw) {
  const box = { x: 200, y: 200, width: 200, height: 100 };
  const go = () => {
    const [x0, y0, x1, y1] = [box.x, box.y, box.x + box.width, box.y + box.height];
    draw([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]);
  };
  const field = (name, label, bounds) => lengthField(editor, `${id}-${name}`, label, box, name, bounds);
  return group("As a box", [field("x", "Left"), field("y", "Top"), field("width", "Width", { least: 0.001 }), field("height", "Height", { least: 0.001 }), button("Add", go, { full: true, primary: true, id: `${id}-go` })], { submit: go });
}

export function areaToolForm(editor) {
  const { area } = editor.settings;
  return form(
    words("h2", () => "Draw a standing area"),
    words("p", () => "Drag a box or click corners on the sheet, or type a box.", { class: "muted small" }),
    group(null, [
      textField("new-area-name", "Name", { get: () => area.name, set: (name) => (name ? void (area.name = name) : "A name is expected.") }),
      numberField("new-area-capacity", "Places", { whole: true, least: 1, most: 1_000_000, get: () => area.capacity, set: (value) => void (area.capacity = value) }),
      toolCategory(editor, "new-area-category"),
    ]),
    boxGroup(editor, "area-box", (outline) => editor.drawArea(outline)),
  );
}

export function shapeToolForm(editor) {
  const { shape } = editor.settings;
  return form(
    words("h2", () => "Draw a stage or decoration"),
    words("p", () => "Drag a box or click corners on the sheet, or type a box.", { class: "muted small" }),
    group(null, [
      textField("new-shape-label", "Text", { get: () => shape.label, set: (label) => void (shape.label = label) }),
      textField("new-shape-kind", "Kind", { get: () => shape.kind, set: (kind) => (kind ? void (shape.kind = kind) : "A kind is expected."), suggestions: () => ["stage", "pitch", "bar", "wall", "desk"] }),
    ]),
    boxGroup(editor, "shape-box", (outline) => editor.drawShape(outline)),
  );
}

export function brushForm(editor) {
  return form(
    words("h2", () => "Paint categories"),
    words("p", () => (editor.chosen.size ? "Paint on the sheet, or press the button for what is chosen." : "Paint on the sheet. Keys 1 to 9 take a category."), { class: "muted small" }),
    categoryList(editor),
    buttonRow(button("Paint what is chosen", () => editor.paintKeys(editor.chosen, editor.brushCategory()), { primary: true, when: () => editor.chosen.size > 0, id: "paint-chosen" })),
    group(null, [
      numberField("brush-size", "Size of the brush", { full: true, least: 0, most: 100_000, get: () => editor.settings.brush / editor.unit, set: (value) => void (editor.settings.brush = value * editor.unit) }),
      ...categoryParts(editor),
    ]),
  );
}
