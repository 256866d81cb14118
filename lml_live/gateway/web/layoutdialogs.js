/** The one dialog of the page: a heading, what there is to know, and buttons. It answers which was pressed. */

import { byId, element, fill, setText } from "./dom.js";
import { diffLines } from "./planfindings.js";
import { TOOLS } from "./plantools.js";

const SEATS_NAMED_MAX = 60;
/** Answers whoever asked last. */
let leave = () => {};

/**
 * @param {string} title
 * @param {(Node|string|false|null)[]} body
 * @param {{value: string, words: string, primary?: boolean, act?: () => Promise<string|void>}[]} acts `act` may refuse by
 *   answering why; the dialog stays open then
 * @returns {Promise<string>} the value of the button, "" where it was closed
 */
export function ask(title, body, acts) {
  const dialog = byId("dialog");
  // Who asked before is answered now: that dialog's `close` is told later, when this one is open already.
  if (dialog.open) dialog.close();
  leave();
  setText(byId("dialog-title"), title);
  setText(byId("dialog-error"), "");
  fill(byId("dialog-body"), ...body);
  return new Promise((resolve) => {
    let answer = "";
    let acting = false;
    const done = () => resolve(answer);
    const buttons = acts.map(({ value, words, primary, act }) => {
      const made = element("button", { class: `button${primary ? " primary" : ""}`, type: "button", data: { value } }, words);
      made.addEventListener("click", async () => {
        for (const each of buttons) each.disabled = true;
        setText(byId("dialog-error"), "");
        acting = true;
        const refused = act ? await act() : undefined;
        acting = false;
        for (const each of buttons) each.disabled = false;
        if (refused) {
          setText(byId("dialog-error"), refused);
          made.focus();
        } else answer = value;
        const closed = !dialog.open || !made.isConnected;
        if (closed) done();
        else if (!refused) dialog.close();
      });
      return made;
    });
    fill(byId("dialog-acts"), ...buttons);
    leave = () => acting || done();
    // What was closed with Escape while it did something is answered when that is done.
    dialog.onclose = () => dialog.open || leave();
    dialog.showModal();
    byId("dialog-title").focus();
  });
}

/** A difference as a list; who loses seats sees which. */
export function diffList(diff, nothing = "There is no difference.") {
  const lines = diffLines(diff);
  if (!lines.length) return element("p", { class: "muted" }, nothing);
  return element(
    "ul",
    { class: "diff" },
    ...lines.map(({ text, tone, seats, kind }) =>
      element(
        "li",
        { data: { tone, kind } },
        text,
        seats.length > 0 && element("p", { class: "seats-listed" }, seats.slice(0, SEATS_NAMED_MAX).map((seat) => `${seat.section} ${seat.row} ${seat.number}`).join(" · ") + (seats.length > SEATS_NAMED_MAX ? " …" : "")),
      ),
    ),
  );
}

const KEYS = Object.freeze([
  ["Arrows", "move the cursor from seat to seat"],
  ["Enter or Space", "choose the seat under the cursor"],
  ["Shift + arrows", "choose on the way"],
  ["Alt + arrows", "move what is chosen; with Shift ten times as far"],
  ["Ctrl + A, Esc", "choose everything, nothing"],
  ["S, W, E", "a click takes seats, whole rows, entire sections"],
  ["1 to 9", "take a category; with the brush or without"],
  ["P", "paint what is chosen with it"],
  ["[ and ]", "a smaller and a larger brush"],
  ["G", "snap to a grid, or not"],
  ["Ctrl + D, Delete", "duplicate, delete"],
  ["Ctrl + Z, Ctrl + Shift + Z", "undo, redo"],
  ["Ctrl + S", "save"],
  ["N, Shift + N", "the next and the last thing that the check found"],
  ["+, -, 0", "zoom in, out, show everything"],
  ["Space held, middle button", "move the map"],
  ["I", "to the details, Esc back to the sheet"],
]);

export function showHelp() {
  const tools = TOOLS.map(({ key, words, hint }) => [key.toUpperCase(), `${words}. ${hint}`]);
  const list = (pairs) => element("dl", { class: "keys" }, ...pairs.flatMap(([keys, text]) => [element("dt", {}, ...keys.split(/( \+ |, | or | to | and )/).map((part, at) => (at % 2 ? part : element("kbd", {}, part)))), element("dd", {}, text)]));
  return ask(
    "Keys and tools",
    [
      element("p", { class: "muted" }, "Everything can be done without a mouse: each tool has a form beside the sheet that takes numbers."),
      list(tools),
      list(KEYS),
    ],
    [{ value: "close", words: "Close", primary: true }],
  );
}
