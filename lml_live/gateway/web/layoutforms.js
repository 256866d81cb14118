/**
 * Parts of forms that stay where they are while what they show changes: whoever types or presses loses nothing.
 * Each is `{node, update}`; a value is taken when the field is left or Enter is pressed, and a wrong one is marked.
 */

import { element } from "./dom.js";

/** Beyond any sheet, and its square is still a number. */
const NUMBER_MAX = 1e9;

/**
 * A field with a label. `set` answers what is wrong with a value, or nothing.
 * @param {{get: () => string|number|undefined, set: (value: string) => string|void, type?: string, full?: boolean,
 *   placeholder?: string, suggestions?: () => string[], when?: () => boolean, digits?: boolean}} about
 */
export function textField(id, label, { get, set, type = "text", full = false, placeholder = "", suggestions, when, digits = false }) {
  const input = element("input", { id, type, autocomplete: "off", spellcheck: false, placeholder, ...(digits && { inputMode: "decimal" }) });
  const list = suggestions && element("datalist", { id: `${id}-list` });
  if (list) input.setAttribute("list", list.id);
  const node = element("label", { class: full ? "full" : "", for: id }, label, input, list);
  let shown = "";
  const take = () => {
    if (input.value === shown) return;
    const wrong = set(input.value.trim());
    input.setAttribute("aria-invalid", String(Boolean(wrong)));
    input.title = wrong ?? "";
    if (wrong) return;
    shown = input.value;
    part.update();
  };
  input.addEventListener("change", take);
  const part = {
    node,
    update() {
      node.hidden = when ? !when() : false;
      const value = String(get() ?? "");
      if (list) {
        const names = suggestions();
        if (list.childElementCount !== names.length || [...list.children].some((option, at) => option.value !== names[at])) list.replaceChildren(...names.map((name) => element("option", { value: name })));
      }
      if (document.activeElement === input && input.value !== shown) return;
      shown = value;
      if (input.value !== value) input.value = value;
      input.removeAttribute("aria-invalid");
    },
    /** Takes what was typed last, before a button is pressed by Enter. */
    commit: take,
  };
  return part;
}

/** A field for a number within bounds; `null` stands for an empty one where that is allowed. */
export function numberField(id, label, { get, set, least = -NUMBER_MAX, most = NUMBER_MAX, whole = false, empty = false, ...rest }) {
  return textField(id, label, {
    ...rest,
    digits: true,
    get: () => {
      const value = get();
      return value === null || value === undefined ? "" : String(whole ? value : Math.round(value * 1000) / 1000);
    },
    set: (text) => {
      if (!text && empty) return set(null);
      const value = Number(text.replace(",", "."));
      if (!text || !Number.isFinite(value) || value < least || value > most || (whole && !Number.isInteger(value))) return `${whole ? "A whole number" : "A number"} from ${least.toLocaleString()} to ${most.toLocaleString()} is expected.`;
      return set(value);
    },
  });
}

/** @param {{get: () => string|undefined, set: (value: string) => void, options: () => [string, string][]}} about */
export function selectField(id, label, { get, set, options, full = false, when, mixed = "Several" }) {
  const select = element("select", { id });
  const node = element("label", { class: full ? "full" : "", for: id }, label, select);
  let known = "";
  select.addEventListener("change", () => set(select.value));
  return {
    node,
    update() {
      node.hidden = when ? !when() : false;
      if (node.hidden) return;
      const value = get();
      const list = [...(value === undefined ? [["", mixed]] : []), ...options()];
      const text = JSON.stringify(list);
      if (text !== known) select.replaceChildren(...list.map(([name, words]) => element("option", { value: name }, words)));
      known = text;
      select.value = value ?? "";
    },
  };
}

/** A box that is ticked, not ticked, or neither. @param {{get: () => boolean|undefined, set: (on: boolean) => void}} about */
export function checkField(id, label, { get, set, when }) {
  const input = element("input", { id, type: "checkbox" });
  const node = element("label", { class: "check full", for: id }, input, label);
  input.addEventListener("change", () => set(input.checked));
  return {
    node,
    update() {
      node.hidden = when ? !when() : false;
      const value = get();
      input.checked = value === true;
      input.indeterminate = value === undefined;
    },
  };
}

/** One of a few, as a row of buttons. */
export function segments(label, choices, { get, set }) {
  const buttons = choices.map(([value, words]) => element("button", { type: "button", data: { value }, onclick: () => set(value) }, words));
  const node = element("div", { class: "segments", role: "group", "aria-label": label }, ...buttons);
  return {
    node,
    update() {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === get()));
    },
  };
}

export function button(words, act, { primary = false, full = false, title = "", when, id } = {}) {
  const node = element("button", { ...(id && { id }), class: `button small${primary ? " primary" : ""}${full ? " full" : ""}`, type: "button", title, onclick: act }, words);
  return {
    node,
    update() {
      node.hidden = when ? !when() : false;
    },
  };
}

export function buttonRow(...buttons) {
  const node = element("div", { class: "button-row" }, ...buttons.map((each) => each.node));
  return { node, update: () => buttons.forEach((each) => each.update()) };
}

/** A text that may change. */
export function words(tag, get, properties = {}) {
  const node = element(tag, properties);
  return {
    node,
    update() {
      const text = get();
      if (node.textContent !== text) node.textContent = text;
      node.hidden = text === "";
    },
  };
}

/** Fields two and two, under a heading. @param {{when?: () => boolean, submit?: () => void}} about Enter in a field submits */
export function group(title, parts, { when, submit } = {}) {
  const fields = element("form", { class: "fields", noValidate: true }, ...parts.map((part) => part.node));
  const node = element("div", { role: "group", ...(title && { "aria-label": title }) }, title && element("h3", {}, title), fields);
  fields.addEventListener("submit", (event) => event.preventDefault());
  fields.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    for (const part of parts) part.commit?.();
    submit?.();
  });
  return {
    node,
    commit: () => parts.forEach((part) => part.commit?.()),
    update() {
      node.hidden = when ? !when() : false;
      if (!node.hidden) for (const part of parts) part.update();
    },
  };
}

export function form(...parts) {
  const node = element("div", {}, ...parts.map((part) => part.node));
  return { node, update: () => parts.forEach((part) => part.update()) };
}
