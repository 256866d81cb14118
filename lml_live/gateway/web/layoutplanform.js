/** The plan itself: its name and size, what is on it, its categories. */

import { categoryList, categoryParts, dropUnused } from "./layoutcategories.js";
import { button, buttonRow, checkField, form, group, numberField, segments, selectField, textField, words } from "./layoutforms.js";
import { countPlaces, countSeats, KEY } from "./plan.js";
import { everything } from "./planchoice.js";
import { resize } from "./plansheet.js";
import { plural } from "./words.js";

export const REACHES = Object.freeze([["seats", "Seats"], ["rows", "Rows"], ["sections", "Sections"]]);

function chooseSection(editor, section) {
  editor.choose(new Set(section.kind === "standing" ? [section[KEY]] : section.rows.flatMap((row) => row.seats.map((seat) => seat[KEY]))));
  editor.map.reveal(editor.chosen);
}

export function planForm(editor) {
  const { settings } = editor;
  const counts = () => {
    const sections = editor.plan.sections.filter((section) => section.kind === "seated").length;
    const areas = editor.plan.sections.length - sections;
    return [
      plural(countSeats(editor.plan), "seat"),
      plural(sections, "section"),
      areas && plural(areas, "area"),
      countPlaces(editor.plan) !== countSeats(editor.plan) && `${countPlaces(editor.plan).toLocaleString()} places in all`,
    ].filter(Boolean).join(" · ");
  };
  const resized = (facts) => void editor.act("Resize the sheet", resize(editor.plan, { ...editor.plan.viewport, ...facts }));
  return form(
    words("h2", () => "The plan"),
    words("p", counts, { class: "muted small" }),
    group(null, [
      textField("plan-name", "Name", { full: true, get: () => editor.plan.name, set: (name) => (name ? void editor.act("Name the plan", { ...editor.plan, name }) : "A name is expected.") }),
      numberField("plan-width", "Width", { least: 0.001, most: 1e6, get: () => editor.plan.viewport.width, set: (width) => resized({ width }) }),
      numberField("plan-height", "Height", { least: 0.001, most: 1e6, get: () => editor.plan.viewport.height, set: (height) => resized({ height }) }),
    ]),
    group(null, [
      selectField("go-section", "Choose a section", {
        full: true,
        when: () => editor.plan.sections.length > 0,
        get: () => undefined,
        mixed: "By name …",
        set: (at) => at && chooseSection(editor, editor.plan.sections[Number(at)]),
        options: () => editor.plan.sections.map((section, at) => [String(at), section.name]),
      }),
    ]),
    group("A click takes", []),
    segments("A click takes", REACHES, { get: () => settings.reach, set: (reach) => editor.setReach(reach) }),
    group(null, [
      checkField("snap", "Snap to a grid", { get: () => settings.grid, set: (on) => editor.setGrid(on) }),
      numberField("grid-step", "Step of the grid", { when: () => settings.grid, least: 0.001, most: 100_000, get: () => settings.gridStep / editor.unit, set: (value) => {
        settings.gridStep = value * editor.unit;
        editor.setGrid(true);
      } }),
    ]),
    buttonRow(button("Choose everything", () => editor.choose(everything(editor.plan)), { title: "Ctrl+A" })),
    group("Categories", []),
    categoryList(editor),
    group(null, categoryParts(editor)),
    buttonRow(button("Drop unused categories", () => dropUnused(editor), { when: () => editor.hasUnused() })),
  );
}
