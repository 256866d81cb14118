/** The editor's keys: those that hold everywhere on the page, and those of the sheet. */

import { byId } from "./dom.js";
import { deleteChosen, duplicateChosen } from "./layoutinspector.js";
import { showHelp } from "./layoutdialogs.js";
import { combined, everything } from "./planchoice.js";
import { move } from "./planedits.js";
import { TOOLS } from "./plantools.js";

const ARROWS = Object.freeze({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });
const REACHES = Object.freeze({ s: "seats", w: "rows", e: "sections" });
const BRUSH_STEP = 1.25;

/** Whether somebody is typing into a field, where letters are letters. */
function typing(target) {
  return target.matches?.("input:not([type=checkbox], [type=radio], [type=color], [type=file]), select, textarea");
}

export function attachKeys(editor) {
  const map = byId("map");
  let found = -1; // which finding was shown last
  let nudges = 0; // nudges of one press and hold are one step

  /** Keys with Ctrl or ⌘. @returns {boolean} whether it was one */
  const withControl = (event) => {
    const key = event.key.toLowerCase();
    if (key === "s") editor.save();
    else if (typing(event.target)) return false;
    else if (key === "z" && event.shiftKey) editor.redo();
    else if (key === "z") editor.undo();
    else if (key === "y") editor.redo();
    else if (key === "a") editor.choose(everything(editor.plan));
    else if (key === "d") duplicateChosen(editor);
    else return false;
    return true;
  };

  const nudge = (event) => {
    const [dx, dy] = ARROWS[event.key];
    const step = editor.snapUnit() * (event.shiftKey ? 10 : 1);
    if (!event.repeat) nudges += 1;
    editor.act("Move", move(editor.plan, editor.chosen, dx * step, dy * step), { merge: `nudge ${nudges}` });
  };

  const nextFinding = (by) => {
    const { findings } = editor.problems;
    if (!findings.length) {
      editor.speak("The check found nothing.");
      return;
    }
    found = (found + by + findings.length) % findings.length;
    if (found < 0 || !findings[found]) found = 0;
    editor.problems.go(findings[found]);
  };

  const escape = () => {
    if (editor.tools.current.leave?.()) return;
    if (editor.chosen.size) editor.choose(new Set());
    else editor.takeTool("select");
  };

  /** Single keys, wherever nobody types. @returns {boolean} whether it was one */
  const alone = (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const tool = TOOLS.find((each) => each.key === key);
    const category = /^[1-9]$/.test(key) ? editor.scene.categories[Number(key) - 1] : undefined;
    if (tool) {
      editor.takeTool(tool.name);
      map.focus();
    } else if (category !== undefined) editor.takeCategory(category);
    else if (REACHES[key]) editor.setReach(REACHES[key]);
    else if (key === "p") editor.paintKeys(editor.chosen, editor.brushCategory());
    else if (key === "g") editor.setGrid(!editor.settings.grid);
    else if (key === "n") nextFinding(event.shiftKey ? -1 : 1);
    else if (key === "i") {
      byId("sheet").setAttribute("aria-expanded", "true");
      byId("inspector").querySelector("input, select, button")?.focus();
    } else if (key === "?") showHelp();
    else if (key === "Delete") deleteChosen(editor);
    else if (key === "Backspace") {
      if (!editor.tools.current.back?.()) deleteChosen(editor);
    } else if (key === "[" || key === "]") {
      editor.settings.brush *= key === "]" ? BRUSH_STEP : 1 / BRUSH_STEP;
      editor.updatePanel();
    } else return false;
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (byId("editor").hidden || byId("dialog").open || event.defaultPrevented) return;
    if (event.key === "Escape" && !byId("editor").hidden) {
      if (document.activeElement !== map && byId("panel").contains(document.activeElement)) map.focus();
      else escape();
      event.preventDefault();
      return;
    }
    const used = event.ctrlKey || event.metaKey ? withControl(event) : !event.altKey && !typing(event.target) && alone(event);
    if (used) event.preventDefault();
  });

  // In the capture phase, so that the map itself does not take these for its own.
  map.addEventListener(
    "keydown",
    (event) => {
      const take = () => {
        event.preventDefault();
        event.stopImmediatePropagation();
      };
      if (ARROWS[event.key] && event.altKey) {
        if (editor.chosen.size) nudge(event);
        take();
      } else if (ARROWS[event.key] && event.shiftKey && !event.ctrlKey && !event.metaKey) {
        extend(event);
        take();
      } else if (event.key === " " && !event.repeat && editor.map.cursorIndex < 0) {
        editor.tools.spaced = true;
        take();
      } else if (event.key === "Enter" && editor.tools.current.close?.()) take();
      else if (event.key === "Escape") {
        escape();
        take();
      }
    },
    { capture: true },
  );

  const extend = (event) => {
    const { scene } = editor;
    const [dx, dy] = ARROWS[event.key];
    const at = editor.map.cursorIndex;
    const next = at < 0 ? scene.nearest(editor.map.camera.x, editor.map.camera.y) : scene.neighbour(at, dx, dy);
    const keys = [at, next].filter((index) => index >= 0).map((index) => scene.keys[index]);
    editor.choose(combined(editor.chosen, new Set(keys), "add"));
    if (next >= 0) editor.map.setCursor(next);
  };

  document.addEventListener("keyup", (event) => {
    if (event.key === " ") editor.tools.spaced = false;
  });
  byId("tools").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const all = [...byId("tools").querySelectorAll("[role=radio]")];
    const at = all.indexOf(document.activeElement);
    if (!step || at < 0) return;
    const next = all[(at + step + all.length) % all.length];
    editor.takeTool(next.dataset.tool);
    next.focus();
    event.preventDefault();
  });
}
