/** What is pressed around the sheet: the bar above it, the tools beside it, the buttons that zoom. */

import { byId, element } from "./dom.js";
import { showHelp } from "./layoutdialogs.js";
import { TOOLS } from "./plantools.js";

export function furnishPage(editor) {
  const icon = (path) => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  };
  const tools = element("div", { class: "tool-group", role: "radiogroup", "aria-label": "Tool" });
  for (const { name, key, words, icon: path } of TOOLS) tools.append(element("button", { class: "tool", type: "button", role: "radio", "aria-checked": "false", title: `${words} (${key.toUpperCase()})`, data: { tool: name }, onclick: () => editor.takeTool(name) }, icon(path), words));
  const grid = element("button", { class: "tool", type: "button", "aria-pressed": "false", title: "Snap to a grid (G)", data: { tool: "grid" }, onclick: () => editor.setGrid(!editor.settings.grid) }, icon("M4 4h16v16H4zM4 9.3h16M4 14.7h16M9.3 4v16M14.7 4v16"), "Snap");
  byId("tools").append(tools, element("hr"), grid);
  const on = (id, act) => byId(id).addEventListener("click", act);
  on("undo", () => editor.undo());
  on("redo", () => editor.redo());
  on("save", () => editor.save());
  on("publish", () => editor.work(() => editor.life.publish(), "Published."));
  on("deploy", () => editor.work(() => editor.life.deploy(), "Deployed: events can be made on it."));
  on("import", () => byId("file").click());
  on("help", showHelp);
  on("zoom-in", () => editor.map.zoomBy(1.5));
  on("zoom-out", () => editor.map.zoomBy(1 / 1.5));
  on("zoom-fit", () => editor.map.fit());
  on("sheet", () => byId("sheet").setAttribute("aria-expanded", String(byId("sheet").getAttribute("aria-expanded") !== "true")));
  byId("file").addEventListener("change", () => {
    const [file] = byId("file").files;
    byId("file").value = "";
    if (file) editor.work(() => editor.life.read(file), "");
  });
  byId("steps").addEventListener("toggle", () => editor.showSteps());
  const hover = (event) => {
    const box = byId("map").getBoundingClientRect();
    if (!event.buttons) editor.tools.current.hover?.(event.clientX - box.left, event.clientY - box.top, event);
  };
  byId("map").addEventListener("pointermove", hover);
  byId("map").addEventListener("pointerleave", () => editor.tools.name === "brush" && editor.map.setPreview(null));
}
