/** The editor of a seating plan: puts the sheet, the tools, the inspector, the check and the server together. */

import { CallFailed } from "./bookingapi.js";
import { byId, element, fill, idFrom, setText } from "./dom.js";
import { furnishPage } from "./layoutbar.js";
import { attachKeys } from "./layoutkeys.js";
import { Inspector } from "./layoutinspector.js";
import { Life } from "./layoutlife.js";
import { Problems } from "./layoutproblems.js";
import { countCategories } from "./layoutcategories.js";
import { addArea, addRows, addShape, listCategory, paint } from "./planedits.js";
import { stillThere } from "./planchoice.js";
import { History } from "./planhistory.js";
import { PlanMap } from "./planmap.js";
import { following, leftFirst, seatNumbers } from "./plannumbers.js";
import { freeName, openPlan, unitOf } from "./plan.js";
import { blockPoints, snapped } from "./planrows.js";
import { Scene } from "./planscene.js";
import { Tools, TOOLS } from "./plantools.js";
import { StaffSession } from "./staffsession.js";
import { plural, shortDateTime } from "./words.js";

const TOAST_MS = 6_000;
const BRUSH_LEAST = 8;
const CATEGORY_WHERE_NONE = "Standard";

export class Editor {
  constructor(id) {
    this.id = id;
    this.session = null;
    this.leaving = false;
    this.chosen = new Set();
    this.settings = {
      category: "",
      brush: 12,
      reach: "seats",
      grid: false,
      gridStep: 10,
      row: { section: "", label: "", rows: 1, count: 0, spacing: 16, rowSpacing: 20, sagitta: 0 },
      numbers: { order: "left", kind: "numbers", start: "1", step: 1, prefix: "", skip: "" },
      area: { name: "Standing", capacity: 100 },
      shape: { kind: "stage", label: "Stage" },
    };
    this.life = new Life(this);
    this.problems = new Problems(this);
  }

  get plan() {
    return this.history.plan;
  }

  /** How many world units one of the plan's own is. */
  get unit() {
    return unitOf(this.plan);
  }

  /** Shows the page for a plan, the first time. */
  begin(plan) {
    this.history = new History(plan);
    this.scene = new Scene(plan);
    this.map = new PlanMap(byId("map"), {
      grab: (...all) => this.tools.grab(...all),
      drag: (...all) => this.tools.drag(...all),
      drop: (...all) => this.tools.drop(...all),
      cancel: () => this.tools.cancel(),
      pick: (index) => this._pick(index),
      pickArea: (areaId) => this._pickArea(areaId),
      cursor: (index) => this.speakSeat(index),
    });
    this.tools = new Tools(this);
    this.map.show(this.scene);
    this.inspector = new Inspector(this, byId("inspector"));
    this._measure();
    furnishPage(this);
    this.takeTool("select");
    this.choose(new Set());
    this.problems.later(0);
    attachKeys(this);
    document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && this.life.unsaved && this.life.keepNow());
    window.addEventListener("beforeunload", (event) => {
      if (this.life.unsaved && !this.leaving) event.preventDefault();
    });
  }

  // ---- the plan

  /** One step on, under a name; `choose` are the keys that are chosen then, `merge` as `History.act` has it. */
  act(name, plan, { merge = null, choose = null } = {}) {
    if (plan === this.plan) return;
    this.history.act(name, plan, merge);
    if (choose) this.chosen = choose;
    this.refresh();
    this.problems.later();
    this.life.keepSoon();
  }

  undo() {
    this._stepped(this.history.undo(), "Taken back");
  }

  redo() {
    this._stepped(this.history.redo(), "Done again");
  }

  _stepped(name, words) {
    if (name === null) return;
    this.refresh();
    this.problems.later();
    this.life.keepSoon();
    this.speak(`${words}: ${name}`);
  }

  /** Draws everything as the plan is now. */
  refresh() {
    this.scene = new Scene(this.plan);
    this.map.show(this.scene);
    this.map.setFaults(this.problems.findings);
    this.choose(stillThere(this.plan, this.chosen));
    this.showState();
  }

  choose(keys) {
    this.chosen = keys;
    this.map.choose(keys);
    this.map.setHandles(this.tools.handles());
    this.updatePanel();
  }

  updatePanel() {
    this.inspector.update();
    setText(byId("sheet-words"), byId("inspector").querySelector("h2")?.textContent ?? "Details");
  }

  // ---- drawing

  /** What a row from end to end becomes with the tool's settings. */
  blockOf(from, to) {
    const { row } = this.settings;
    return { from, to, sagitta: row.sagitta, count: row.count, spacing: row.spacing, rows: row.rows, rowSpacing: row.rowSpacing };
  }

  sectionToDraw() {
    const { row } = this.settings;
    return row.section || this.plan.sections.findLast((section) => section.kind === "seated")?.name || "Stalls";
  }

  /** The label after the last row of the section that is drawn in. */
  nextLabel() {
    const section = this.plan.sections.find((each) => each.name === this.sectionToDraw());
    const last = section?.rows?.at(-1)?.label;
    return last === undefined ? "A" : following(last);
  }

  drawRows(from, to) {
    const { row, numbers } = this.settings;
    const rows = [];
    const section = this.sectionToDraw();
    const taken = new Set(this.plan.sections.find((each) => each.name === section)?.rows?.map((each) => each.label));
    let label = row.label || this.nextLabel();
    for (const points of blockPoints(this.blockOf(from, to))) {
      const found = seatNumbers(points.length, numbers, leftFirst(points));
      if (!found) {
        this.say("These numbers do not work out: they must stay from 0 to 999,999, and fit odd or even.");
        return;
      }
      label = freeName(label, taken);
      taken.add(label);
      rows.push({ label, numbers: found, points });
      label = following(label);
    }
    const made = addRows(this.plan, section, rows, this.brushCategory());
    row.label = "";
    this.act(rows.length === 1 ? "Draw a row" : `Draw ${rows.length} rows`, made.plan, { choose: made.keys });
    this.speak(`${plural(rows.length, "row")} drawn in ${section}, ${plural(made.keys.size, "seat")}`);
  }

  drawArea(outline) {
    const { area } = this.settings;
    const name = freeName(area.name, new Set(this.plan.sections.map((section) => section.name)));
    const made = addArea(this.plan, { name, capacity: area.capacity, category: this.brushCategory(), outline });
    this.act("Draw an area", made.plan, { choose: made.keys });
    this.speak(`Area ${name} drawn, ${plural(area.capacity, "place")}`);
  }

  drawShape(outline) {
    const made = addShape(this.plan, { ...this.settings.shape, points: outline });
    this.act("Draw decoration", made.plan, { choose: made.keys });
  }

  paintKeys(keys, category) {
    if (!keys.size || !category) return;
    const listed = this.plan.categories.length ? listCategory(this.plan, category) : this.plan;
    this.act(`Paint ${category}`, paint(listed, keys, category));
  }

  /** The category that is drawn and painted with. */
  brushCategory() {
    const { category } = this.settings;
    return category || this.scene.categories[0] || CATEGORY_WHERE_NONE;
  }

  takeCategory(name) {
    this.settings.category = name;
    this.updatePanel();
    this.speak(`Category ${name}`);
  }

  hasUnused() {
    return this.plan.categories.length > 0 && countCategories(this.scene).some((count) => count === 0);
  }

  // ---- the sheet

  snap(point) {
    return this.settings.grid ? snapped(point, this.settings.gridStep) : point;
  }

  snapStep(dx, dy) {
    return this.settings.grid ? snapped([dx, dy], this.settings.gridStep) : [dx, dy];
  }

  /** How far one press of a key moves what is chosen. */
  snapUnit() {
    return this.settings.grid ? this.settings.gridStep : this.scene.spacing / 4;
  }

  setGrid(on) {
    this.settings.grid = on;
    this.map.gridStep = on ? this.settings.gridStep : 0;
    this.map.setPreview(null);
    this.updatePanel();
    byId("tools").querySelector("[data-tool=grid]").setAttribute("aria-pressed", String(on));
  }

  setReach(reach) {
    this.settings.reach = reach;
    this.updatePanel();
    this.speak(`A click takes ${reach}`);
  }

  takeTool(name) {
    this.tools.take(name);
    for (const button of byId("tools").querySelectorAll("[role=radio]")) {
      button.setAttribute("aria-checked", String(button.dataset.tool === name));
      button.tabIndex = button.dataset.tool === name ? 0 : -1;
    }
    byId("map").dataset.tool = name;
    setText(byId("hint"), TOOLS.find((tool) => tool.name === name).hint);
    this.choose(name === "row" || name === "area" || name === "shape" ? new Set() : this.chosen);
  }

  /** Of a finger that tapped a seat, and of Enter at the cursor. */
  _pick(index) {
    if (this.tools.name === "brush") this.paintKeys(new Set([this.scene.keys[index]]), this.brushCategory());
    else this.tools.all.select.pick(index);
    this.speakSeat(index);
  }

  _pickArea(areaId) {
    const section = this.plan.sections.find((each) => each.area_id === areaId);
    if (section) this.tools.all.select.pickThing(section);
  }

  /** Distances to begin with: those that the plan has. */
  _measure() {
    const { settings, scene } = this;
    const spacing = scene.count ? scene.spacing : 16;
    Object.assign(settings.row, { spacing, rowSpacing: spacing * 1.25 });
    settings.brush = Math.max(BRUSH_LEAST, spacing * 1.2);
    settings.gridStep = spacing / 2;
  }

  inUnits(length) {
    return String(Math.round((length / this.unit) * 10) / 10);
  }

  /** Says something to those who cannot see it. */
  speak(text) {
    setText(byId("spoken"), text);
  }

  speakSeat(index) {
    const { section, row, seat, category, note } = this.scene.describe(index);
    const chosen = this.chosen.has(this.scene.keys[index]) ? ", chosen" : "";
    this.speak(`${section}, row ${row}, seat ${seat}, ${category}${note ? `, ${note}` : ""}${chosen}`);
  }

  /** Says something to everybody, for a moment. */
  say(text) {
    const toast = byId("toast");
    setText(toast, text);
    toast.hidden = false;
    clearTimeout(this._toast);
    this._toast = setTimeout(() => (toast.hidden = true), TOAST_MS);
  }

  showState() {
    const { history, life } = this;
    const { chip, lead } = life.standing();
    document.title = `${life.unsaved ? "• " : ""}${this.plan.name} · LML Live`;
    setText(byId("title"), this.plan.name);
    setText(byId("lead"), lead);
    setText(byId("chip"), chip[0]);
    byId("chip").dataset.tone = chip[1];
    byId("chip").hidden = false;
    setText(byId("saying"), this.working ? "Working…" : life.unsaved ? "Unsaved changes" : life.base ? "All changes saved" : "");
    byId("undo").disabled = history.last === null;
    byId("redo").disabled = history.next === null;
    byId("undo").title = history.last ? `Undo: ${history.last} (Ctrl+Z)` : "Nothing to undo";
    byId("redo").title = history.next ? `Redo: ${history.next} (Ctrl+Shift+Z)` : "Nothing to redo";
    byId("save").disabled = Boolean(this.working) || (!life.unsaved && life.latest !== null);
    if (byId("steps").open) this.showSteps();
  }

  showSteps() {
    fill(byId("steps-list"), ...this.history.names.slice(0, 100).map((name) => element("li", {}, name)));
  }

  // ---- the page

  /** Does something with the server, one thing at a time, and says what came of it. */
  async work(act, done) {
    if (this.working) return;
    this.working = true;
    this.showState();
    for (const id of ["save", "publish", "deploy", "import"]) byId(id).disabled = true;
    try {
      const refused = await act();
      this.say(refused || done);
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      this.say(this.life.refusal(error));
    } finally {
      this.working = false;
      for (const id of ["publish", "deploy", "import"]) byId(id).disabled = false;
      this.showState();
    }
  }

  save() {
    return this.work(() => this.life.save(), "Saved.");
  }

  /**
   * What is in this browser and not on the server, the latest of it: shown as one step, so that one step back is the
   * server's. Whatever else is kept is offered when the plan is opened again.
   */
  async offer([kept, ...others]) {
    if (!kept) return;
    const moved = await this.life.hasMoved(kept);
    const restore = () => {
      try {
        const plan = openPlan(JSON.parse(kept.text));
        // A save names what this was drawn on, not what somebody has saved since: nobody's work is overwritten unseen.
        if (moved) this.life.base = kept.base;
        this.act(kept.why === "imported" ? "Import" : "Bring back", plan);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
      this.life.takeOver(kept);
      this._measure();
      this.map.fit();
    };
    if (kept.why === "imported") {
      restore();
      this.tellNotes(kept.notes ?? []);
      return;
    }
    const forget = async () => {
      await this.life.forget(kept);
      await this.offer(others);
    };
    const since = moved ? " Since then the draft was saved by somebody." : "";
    this.showBanner(`You have drawn here on ${shortDateTime(kept.at)} and not saved it.${since}`, [["Bring it back", restore], ["Forget it", forget]]);
  }

  /** What an import changed on the way, for those who want to know. */
  tellNotes(notes) {
    if (notes.length) this.showBanner(`${plural(notes.length, "thing")} changed on the way in, or worth knowing.`, [["Show", () => this.life.showNotes(notes)], ["Close", () => {}]]);
  }

  /** A line over the sheet with what can be done about it; it goes with the first press. */
  showBanner(text, acts) {
    const banner = byId("banner");
    const press = (act) => () => {
      banner.hidden = true;
      byId("map").focus();
      act();
    };
    fill(banner, element("span", {}, text), ...acts.map(([words, act], at) => element("button", { class: `button small${at ? "" : " primary"}`, type: "button", onclick: press(act) }, words)));
    banner.hidden = false;
  }
}

const editor = new Editor(idFrom(location.pathname.replace(/\/edit\/?$/, "")));
const session = new StaffSession({
  title: "Sign in as a manager",
  parts: ["editor", "acts", "chip"],
  forbidden: "This account may not see seating plans.",
  start,
  missing: () => session.tell("There is no such plan", "", element("a", { class: "button primary", href: "/layouts" }, "All plans")),
});
editor.session = session;

async function start() {
  // Another account finds nothing of what was drawn before: it opens the plan anew.
  if (editor.history && editor.life.owner !== session.account) {
    await editor.life.keepNow();
    editor.leaving = true;
    location.reload();
    return;
  }
  // Whoever signs in again finds it.
  if (!editor.history) {
    session.tell("Opening the plan…", "");
    const { plan, kept } = await editor.life.open();
    fill(byId("state"));
    byId("editor").hidden = byId("acts").hidden = false;
    editor.begin(plan);
    await editor.offer(kept);
  } else {
    // Nor does anybody else: the server says who may see a plan.
    await editor.life.look();
    editor.problems.later(0);
  }
  byId("editor").hidden = byId("acts").hidden = byId("chip").hidden = false;
  fill(byId("state"));
  editor.showState();
}

session.begin();
