/**
 * The check: what the server finds in the plan as it is drawn, listed with where it is and shown on the sheet. The
 * server's rules are the only ones; this asks it a moment after each edit, one question at a time.
 */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { textOf } from "./plan.js";
import { explainFindings } from "./planfindings.js";

/** How long after an edit, and how much longer for each seat: a large plan is a large question. */
const REST_MS = 600;
const REST_SEAT_MS = 0.02;
const CHECK_MS = 60_000;
const LISTED_MAX = 200;
const AGAIN_MS = 5_000;

export class Problems {
  constructor(editor) {
    this.editor = editor;
    /** @type {{title: string, where: string, words: string, keys: Set<number>, error: boolean}[]} */
    this.findings = [];
    this.report = null;
    this._checked = null; // the plan that the report is of
    this._asking = false;
    this._timer = null;
  }

  /** The plan changed: ask soon. */
  later(wait = REST_MS + this.editor.scene.count * REST_SEAT_MS) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._ask(), wait);
    if (this.report) setText(byId("problems-lead"), "Checking…");
  }

  /** What a save was refused for is the same report. */
  take(plan, report) {
    this._checked = plan;
    this.report = report;
    const found = (list, error) => explainFindings(plan, list ?? [], error).slice(0, LISTED_MAX);
    this.findings = [...found(report.errors, true), ...found(report.warnings, false)];
    this.show();
  }

  /** Takes the reader to a finding. */
  go(finding) {
    const { editor } = this;
    editor.takeTool("select");
    editor.choose(finding.keys);
    editor.map.reveal(finding.keys);
    editor.speak(`${finding.title}: ${finding.where}. ${finding.words}`);
  }

  show() {
    const { report } = this;
    const errors = report.error_count ?? report.errors.length;
    const warnings = report.warning_count ?? report.warnings?.length ?? 0;
    const counted = [errors && `${errors.toLocaleString()} to mend`, warnings && `${warnings.toLocaleString()} to look at`].filter(Boolean).join(", ");
    setText(byId("problems-lead"), counted || "Everything is as it should be.");
    byId("problems").dataset.state = errors ? "errors" : warnings ? "warnings" : "good";
    const focused = byId("problems-list").contains(document.activeElement) ? [...byId("problems-list").querySelectorAll("button")].indexOf(document.activeElement) : -1;
    const listed = this.findings.map((finding) => this._line(finding));
    const more = errors + warnings - this.findings.reduce((sum, finding) => sum + finding.count, 0);
    fill(byId("problems-list"), ...listed, more > 0 && element("li", { class: "muted small" }, `${more.toLocaleString()} more are not listed.`));
    if (focused >= 0) [...byId("problems-list").querySelectorAll("button")][Math.min(focused, listed.length - 1)]?.focus();
    this.editor.map.setFaults(this.findings);
    this.editor.showState();
  }

  _line(finding) {
    const act = () => this.go(finding);
    const kind = finding.error ? "error" : "warning";
    const button = element("button", { type: "button", data: { kind }, onclick: act }, mark(), element("b", {}, `${finding.title}${finding.where ? `: ${finding.where}` : ""}`), element("span", {}, finding.words));
    button.prepend(element("span", { class: "sr-only" }, finding.error ? "To mend: " : "To look at: "));
    return element("li", {}, button);
  }

  async _ask() {
    if (this._asking) return;
    const { editor } = this;
    const { plan } = editor;
    if (plan === this._checked) {
      this.show();
      return;
    }
    this._asking = true;
    let wait = 0;
    try {
      const report = await call("POST", "/layouts/validate", { token: editor.session.token, body: textOf(plan), wait_ms: CHECK_MS });
      this.take(plan, report);
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      const words = error.status === 401 ? "Sign in again to have the plan checked." : "The plan could not be checked just now.";
      setText(byId("problems-lead"), words);
      // What is refused is refused again, and a large plan is a large question.
      wait = error.passing ? Math.max(AGAIN_MS, error.problem.retry_after_ms ?? 0) : 0;
    } finally {
      this._asking = false;
    }
    if (wait || (editor.plan !== plan && this._checked === plan)) this.later(wait || undefined);
  }
}

/** A triangle with an exclamation mark: filled for what keeps a plan out. */
function mark() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 18 17");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  for (const line of ["M9 1.5 17 15.5H1z", "M9 6v4.5M9 12.5v.5"]) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", line);
    svg.append(path);
  }
  return svg;
}
