/** Categories as they are chosen, coloured, named and made; and how seats are numbered, wherever that is asked. */

import { element, fill } from "./dom.js";
import { checkField, numberField, selectField, textField } from "./layoutforms.js";
import { changeCategory, dropCategory, listCategory } from "./planedits.js";
import { KINDS, SEAT_ORDERS, SKIPPED } from "./plannumbers.js";

/** For select fields. */
export function categoryChoices(editor) {
  return editor.scene.categories.map((name) => [name, name]);
}

/** How many places each category has. */
export function countCategories(scene) {
  const counts = new Uint32Array(scene.categories.length);
  for (let index = 0; index < scene.count; index += 1) counts[scene.categoryOf[index]] += 1;
  for (const section of scene.sections) if (section.standing && section.category !== null) counts[section.category] += section.capacity;
  return counts;
}

/** The list of categories: a press takes one into the brush, and its colour and name can be changed. */
export function categoryList(editor) {
  const list = element("ul", { class: "categories" });
  const node = element("div", {}, list);
  let known = "";
  const show = () => {
    const { scene, map } = editor;
    const counts = countCategories(scene);
    const colours = map.theme.categories;
    const state = JSON.stringify([scene.categories, [...counts], colours, editor.brushCategory()]);
    if (state === known) return;
    known = state;
    const focused = document.activeElement?.dataset?.category;
    const kind = document.activeElement?.type === "color" ? "color" : "pick";
    fill(list, ...scene.categories.map((name, at) => line(editor, name, { count: counts[at], colour: colours[at], at })));
    if (focused !== undefined) [...list.querySelectorAll(kind === "color" ? "input" : ".pick")].find((each) => each.dataset.category === focused)?.focus();
  };
  return { node, update: show };
}

function line(editor, name, { count, colour, at }) {
  const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = colour;
  const pick = element(
    "button",
    { class: "pick", type: "button", "aria-pressed": String(editor.brushCategory() === name), data: { category: name }, title: at < 9 ? `Key ${at + 1}` : "", onclick: () => editor.takeCategory(name) },
    swatch,
    element("span", { class: "name" }, name),
    element("span", { class: "count" }, count.toLocaleString()),
  );
  const colourInput = element("input", { type: "color", value: colour, "aria-label": `Colour of ${name}`, data: { category: name } });
  colourInput.addEventListener("change", () => editor.act("Colour a category", changeCategory(listCategory(editor.plan, name), name, { color: colourInput.value.toLowerCase() })));
  return element("li", {}, pick, colourInput);
}

/** Naming the category in the brush, making one, and taking an unused one away. */
export function categoryParts(editor) {
  return [
    textField("category-name", "Name of the chosen category", {
      full: true,
      when: () => editor.scene.categories.includes(editor.brushCategory()),
      get: () => editor.brushCategory(),
      set: (name) => {
        if (!name) return "A name is expected.";
        if (editor.scene.categories.includes(name)) return "There is one of that name.";
        const old = editor.brushCategory();
        editor.settings.category = name;
        return void editor.act("Name a category", changeCategory(listCategory(editor.plan, old), old, { name }));
      },
    }),
    textField("category-new", "New category", {
      full: true,
      placeholder: "Type a name, then Enter",
      get: () => "",
      set: (name) => {
        if (!name) return undefined;
        if (editor.scene.categories.includes(name)) return "There is one of that name.";
        editor.settings.category = name;
        return void editor.act("Add a category", listCategory(editor.plan, name));
      },
    }),
  ];
}

/** Takes every category off the list that nothing is sold in. */
export function dropUnused(editor) {
  const counts = countCategories(editor.scene);
  let { plan } = editor;
  editor.scene.categories.forEach((name, at) => {
    if (!counts[at]) plan = dropCategory(plan, name);
  });
  editor.act("Drop unused categories", plan);
}

/** Why rows cannot go into a section of that name; nothing where they can. */
export function noRows(editor, name) {
  return editor.plan.sections.some((section) => section.name === name && section.kind === "standing") ? "This is a standing area: it has no rows." : undefined;
}

/** How seats are numbered: shared by the row tool and by what is chosen. */
export function numberingParts(editor, id) {
  const { numbers } = editor.settings;
  const changed = () => editor.updatePanel();
  const centred = () => numbers.order.startsWith("centre");
  return [
    selectField(`${id}-order`, "From", { full: true, get: () => numbers.order, set: (order) => {
      numbers.order = order;
      changed();
    }, options: () => Object.entries(SEAT_ORDERS) }),
    selectField(`${id}-kind`, "Kind", { when: () => !centred(), get: () => numbers.kind, set: (kind) => {
      numbers.kind = kind;
      numbers.start = kind === "letters" ? "A" : kind === "even" ? "2" : "1";
      changed();
    }, options: () => Object.entries(KINDS) }),
    textField(`${id}-start`, "First", { when: () => !centred(), get: () => numbers.start, set: (start) => void (numbers.start = start) }),
    numberField(`${id}-step`, "Step", { when: () => !centred(), whole: true, least: -1000, most: 1000, get: () => numbers.step, set: (step) => (step ? void (numbers.step = step) : "Not 0.") }),
    textField(`${id}-prefix`, "Before each", { get: () => numbers.prefix, set: (prefix) => void (numbers.prefix = prefix) }),
    checkField(`${id}-skip`, "Leave out I and O", { when: () => numbers.kind === "letters" && !centred(), get: () => numbers.skip !== "", set: (on) => void (numbers.skip = on ? SKIPPED : "") }),
  ];
}
