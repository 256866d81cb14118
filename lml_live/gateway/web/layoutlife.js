/** A plan and the server: opened, saved, published, deployed, imported; and what to do when two people draw one plan. */

import { call, CallFailed } from "./bookingapi.js";
import { element } from "./dom.js";
import { randomKey } from "./keys.js";
import { ask, diffList } from "./layoutdialogs.js";
import { dropPlan, keepPlan, keptPlans } from "./layoutkeep.js";
import { ID, countPlaces, emptyPlan, openPlan, textOf } from "./plan.js";
import { PLAN_STATES, plural, shortDateTime } from "./words.js";

const BIG_MS = 120_000;
const KEEP_MS = 1_500;
/** Refusals after which it is known that nothing was stored. */
const NOT_STORED = new Set([412, 422, 428]);

export class Life {
  constructor(editor) {
    this.editor = editor;
    /** What the server has: all versions, and the hash of the draft that the plan was drawn on, or null. */
    this.versions = [];
    this.base = null;
    /** The save that got no answer, or null: `{plan, body, base, key}`. */
    this.unanswered = null;
    /** Whose plan it is that is drawn: the account that has opened it. */
    this.owner = "";
    this._keeping = null;
  }

  get path() {
    return `/layouts/${encodeURIComponent(this.editor.id)}`;
  }

  get latest() {
    return this.versions[this.versions.length - 1] ?? null;
  }

  /** Whether the server may have something else than what is drawn here. */
  get unsaved() {
    return this.editor.history.changed || this.unanswered !== null;
  }

  call(method, path, about = {}) {
    return call(method, path, { token: this.editor.session.token, wait_ms: BIG_MS, ...about });
  }

  /** Reads what there is. @returns {Promise<{plan: object, kept: object[]}>} `kept` the latest first */
  async open() {
    this.owner = this.editor.session.account;
    await this.look();
    const draft = this.versions.find((version) => version.state === "draft");
    let plan = null;
    if (draft) plan = openPlan(await this._readDraft());
    else if (this.latest) plan = openPlan(await this.call("GET", `${this.path}/${this.latest.hash}`));
    else {
      const asked = new URLSearchParams(location.search);
      const size = (name, usual) => (Number(asked.get(name)) > 0 ? Number(asked.get(name)) : usual);
      plan = emptyPlan(this.editor.id, asked.get("name") || this.editor.id, size("width", 1000), size("height", 700));
    }
    return { plan, kept: await keptPlans(this.owner, this.editor.id) };
  }

  /** Which versions the server has. Only managers are told. */
  async look() {
    try {
      this.versions = (await this.call("GET", `${this.path}/versions`)).items;
    } catch (error) {
      if (!(error instanceof CallFailed) || error.status !== 404) throw error;
      this.versions = [];
    }
  }

  async _readDraft() {
    const layout = await this.call("GET", `${this.path}/draft`);
    this.base = layout.hash;
    return layout;
  }

  /** Keeps an unsaved plan in this browser, a moment after each edit. */
  keepSoon() {
    clearTimeout(this._keeping);
    this._keeping = setTimeout(() => this.keepNow(), KEEP_MS);
  }

  /** The same at once: the page may be about to go. */
  keepNow() {
    clearTimeout(this._keeping);
    const { id, plan } = this.editor;
    if (!this.unsaved) return dropPlan(this.owner, id);
    const sent = this.unanswered && { body: this.unanswered.body, base: this.unanswered.base };
    return keepPlan(this.owner, id, { text: textOf(plan), base: this.base, why: "unsaved", sent });
  }

  /** What another page has kept is this one's from here on. */
  async takeOver(kept) {
    await this.keepNow();
    await dropPlan(this.owner, this.editor.id, kept.page);
  }

  forget(kept) {
    return dropPlan(this.owner, this.editor.id, kept.page);
  }

  /** Whether what was kept was drawn on another draft than the one that is there, and not on a save of its own. */
  async hasMoved(kept) {
    if (kept.base === this.base) return false;
    if (!kept.sent) return true;
    try {
      // Nothing is stored by this: the draft is another than the one that is named.
      const saved = await this._send({ ...kept.sent, plan: null, key: randomKey() });
      return saved.hash !== this.base;
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      this.unanswered = null;
      return true;
    }
  }

  /**
   * Saves the plan as the draft that it was drawn on, or as a new one.
   * @returns {Promise<string>} "" when it is saved, else why not
   */
  async save() {
    const { editor } = this;
    const { plan } = editor;
    try {
      const saved = (await this._settle(plan)) ?? (await this._send({ plan, body: textOf(plan), base: this.base, key: randomKey() }));
      await this._saved(plan, saved);
      return "";
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      if (error.status === 412 || error.status === 428) return this._moved(plan, error);
      if (error.status === 422 && error.problem.errors?.length) {
        editor.problems.take(plan, error.problem);
        return `Not saved: ${plural(error.problem.errors.length, "thing")} must be mended first. They are listed under Check.`;
      }
      return this.refusal(error);
    }
  }

  /** Sends a plan. What gets no answer may have been stored all the same, and is remembered. */
  async _send(sending) {
    const { body, base, key } = sending;
    try {
      const saved = base ? await this.call("PUT", this.path, { body, match: base }) : await this.call("POST", "/layouts", { body, key });
      this.unanswered = null;
      return saved;
    } catch (error) {
      if (error instanceof CallFailed && (error.status === 0 || error.status >= 500)) {
        this.unanswered = sending;
        this.keepSoon();
      } else if (NOT_STORED.has(error.status)) this.unanswered = null;
      throw error;
    }
  }

  /**
   * Finds out what became of a save that got no answer, by sending it again: what the server has already it takes as
   * saved, and from there this page goes on. Where it was not stored, the next save hears what there is instead.
   * @returns {Promise<object|null>} the answer, where `plan` is what was sent
   */
  async _settle(plan) {
    const sent = this.unanswered;
    if (!sent) return null;
    try {
      const saved = await this._send(sent);
      this._takeBase(saved);
      return sent.plan === plan ? saved : null;
    } catch (error) {
      if (this.unanswered) throw error;
      return null;
    }
  }

  _takeBase(saved) {
    this.base = saved.state === "draft" ? saved.hash : null;
  }

  async _saved(plan, saved) {
    const { editor } = this;
    this._takeBase(saved);
    editor.history.keep(plan);
    clearTimeout(this._keeping);
    if (editor.history.changed) this.keepSoon();
    else await dropPlan(this.owner, editor.id);
    await this.look();
    editor.showState();
  }

  /** Another has changed the draft. Nothing was stored; whoever is here decides, having seen the difference. */
  async _moved(plan, error) {
    const { editor } = this;
    await this.look();
    const theirs = this.versions.find((version) => version.state === "draft");
    if (!theirs) {
      this.base = null;
      const answer = await ask(
        "There is no draft any more",
        [element("p", {}, `Somebody has published it since you opened it: version ${this.latest?.version ?? ""} is ${this.latest?.state ?? "gone"} and stays as it is. Nothing of yours was stored.`)],
        [{ value: "", words: "Not now" }, { value: "new", words: "Save mine as the next version's draft", primary: true }],
      );
      return answer === "new" ? this.save() : "Not saved yet.";
    }
    const diff = error.problem.diff ?? null;
    const field = element("input", { id: "other-id", autocomplete: "off", maxLength: 64, spellcheck: false, value: `${editor.id.slice(0, 62)}-2` });
    const answer = await ask(
      "Somebody else has saved this draft",
      [
        element("p", {}, `It was saved ${shortDateTime(theirs.saved_at)}, after you opened it. Nothing of yours was stored, and nothing of theirs is lost.`),
        diff && element("p", {}, "This is what saving yours over it would do to their draft:"),
        diff && diffList(diff),
        element("div", { class: "fields" }, element("label", { class: "full", for: "other-id" }, "Id for a plan of its own", field)),
      ],
      [
        { value: "", words: "Go on drawing" },
        { value: "theirs", words: "Take theirs" },
        { value: "other", words: "Keep mine as its own plan", act: async () => this._saveAs(plan, field.value.trim()) },
        { value: "mine", words: "Save mine over theirs" },
      ],
    );
    if (answer === "theirs") return this._takeTheirs();
    if (answer === "mine") {
      this.base = theirs.hash;
      return this.save();
    }
    if (answer === "other") {
      await dropPlan(this.owner, editor.id);
      editor.leaving = true;
      location.assign(`/layouts/${encodeURIComponent(field.value.trim())}/edit`);
      return "";
    }
    return "Not saved yet.";
  }

  /** Their draft as one step, so that mine is one step back. */
  async _takeTheirs() {
    const plan = openPlan(await this._readDraft());
    this.editor.act("Take their draft", plan);
    this.editor.history.keep(plan);
    this.editor.showState();
    this.keepSoon();
    return "Their draft is shown. Undo brings yours back.";
  }

  async _saveAs(plan, id) {
    if (!ID.test(id) || id === this.editor.id) return "1 to 64 of A to Z, a to z, 0 to 9 and - are expected, another id than this plan's.";
    try {
      await this.call("POST", "/layouts", { body: textOf(plan, { layout_id: id }), key: randomKey() });
      return undefined;
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      return error.status === 428 ? `${id} has a draft already.` : this.refusal(error);
    }
  }

  /** Shows what publishing changes, and does it. */
  async publish() {
    const { editor } = this;
    if (editor.history.changed || !this.base) {
      const refused = await this.save();
      if (refused || editor.leaving) return refused;
    } else await this.look();
    const draft = this.versions.find((version) => version.state === "draft");
    const before = this.versions.filter((version) => version.state !== "draft").at(-1);
    // What is published is what is shown here, and not what somebody has saved since.
    if (draft && draft.hash !== this.base) {
      this.base ??= before.hash;
      return this._meet();
    }
    if (!draft) return `Nothing to publish: version ${this.latest.version} is ${this.latest.state} and has this content.`;
    const body = await this._difference(before, draft);
    let unseen = false;
    const act = async () => {
      const refused = await this._step("publish", { match: draft.hash });
      unseen = refused?.status === 412;
      return refused && !unseen ? this.refusal(refused) : undefined;
    };
    const answer = await ask(
      `Publish version ${draft.version}?`,
      [
        element("p", {}, "A published version never changes again, not even by us: what follows is a new version."),
        ...body,
      ],
      [{ value: "", words: "Not yet" }, { value: "publish", words: "Publish", primary: true, act }],
    );
    if (unseen) return this._meet();
    if (answer !== "publish") return "Not published.";
    this.base = null;
    await this.look();
    editor.showState();
    return "";
  }

  /** Shows whoever wanted to publish what somebody else has saved: a save that names another draft hears the difference. */
  async _meet() {
    return (await this.save()) || "Saved. Publish it when you have looked at it.";
  }

  /** Shows what deploying a version changes, and does it. */
  async deploy() {
    const { editor } = this;
    await this.look();
    const version = this.versions.filter((each) => each.state === "published" || each.state === "deployed").at(-1);
    if (!version) return "Publish it first: only what cannot change any more is deployed.";
    const before = this.versions.filter((each) => each.state === "deployed" && each.version < version.version).at(-1);
    if (version.state === "deployed") return `Version ${version.version} is deployed already.${editor.history.changed || this.base ? " Publish what you have drawn since." : ""}`;
    const body = await this._difference(before, version);
    const act = async () => {
      const refused = await this._step("deploy", { body: { version: version.version } });
      return refused && this.refusal(refused);
    };
    const answer = await ask(
      `Deploy version ${version.version}?`,
      [
        element("p", {}, "Then new events can be made on it. Events that are on sale keep the version that they have, until you change it at the event; seats that are sold or held cannot vanish there."),
        ...body,
      ],
      [{ value: "", words: "Not yet" }, { value: "deploy", words: "Deploy", primary: true, act }],
    );
    if (answer !== "deploy") return "Not deployed.";
    await this.look();
    editor.showState();
    return "";
  }

  /** What the step from one version to another changes, as parts of a dialog. */
  async _difference(before, after) {
    if (!before) return [element("p", {}, `It is the first: ${after.seat_count.toLocaleString()} seats, ${after.place_count.toLocaleString()} places in all.`)];
    const diff = await this.call("GET", `${this.path}/diff?from=${before.version}&to=${after.version}`);
    return [element("p", {}, `Against version ${before.version}, ${before.state}:`), diffList(diff)];
  }

  /** @returns {Promise<CallFailed|undefined>} why it was refused */
  async _step(name, about) {
    try {
      await this.call("POST", `${this.path}/${name}`, about);
      return undefined;
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      return error;
    }
  }

  refusal(error) {
    if (error.status === 401) {
      this.editor.session.attempt(() => Promise.reject(error));
      return "Please sign in again: what you have drawn is still here.";
    }
    if (error.status === 403) return "Only managers of the house change seating plans.";
    if (error.status === 0) return "The server cannot be reached just now. Nothing is lost: try again.";
    return error.problem.detail ?? `The server answered with ${error.status}.`;
  }

  /** Reads a file into the plan, as one step. @returns {Promise<string>} what came of it */
  async read(file) {
    const { editor } = this;
    try {
      const body = { text: await file.text(), filename: file.name, id: editor.id };
      const read = await this.call("POST", "/layouts/read", { body });
      const plan = openPlan(read.layout);
      if (!(await this._mayTakeThePlaceOf(editor.plan, plan, file.name))) return "Nothing was imported.";
      editor.act("Import", { ...plan, layout_id: editor.id, name: editor.plan.name });
      editor.map.fit();
      const notes = [...read.notes, ...read.renamings.map((each) => Object.values(each).join(" "))];
      editor.tellNotes(notes);
      return `Read: ${countPlaces(plan).toLocaleString()} places. Undo takes it back.`;
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      const faults = error.problem.errors ?? [];
      if (!faults.length) return this.refusal(error);
      await ask("This file cannot be read", [element("ul", {}, ...faults.slice(0, 100).map((each) => element("li", {}, `${each.path ? `${each.path}: ` : ""}${each.message}`)))], [{ value: "close", words: "Close", primary: true }]);
      return "Nothing was imported.";
    }
  }

  /** Whether a file is to stand where something is drawn already. */
  async _mayTakeThePlaceOf(drawn, plan, filename) {
    if (!drawn.sections.length && !drawn.shapes.length) return true;
    const answer = await ask(
      "Put the file in place of this plan?",
      [
        element("p", {}, `The sheet has ${plural(countPlaces(drawn), "place")}, ${filename} has ${plural(countPlaces(plan), "place")}. All that is drawn goes from the sheet; one undo brings it back.`),
        element("p", {}, "What is saved stays until you save."),
      ],
      [{ value: "", words: "Not now" }, { value: "import", words: "Put it in place", primary: true }],
    );
    return answer === "import";
  }

  showNotes(notes) {
    return ask("What was changed on the way", [element("ul", {}, ...notes.slice(0, 200).map((note) => element("li", {}, note)))], [{ value: "close", words: "Good", primary: true }]);
  }

  /** How the plan stands, in a word and a sentence. */
  standing() {
    const { history } = this.editor;
    const draft = this.versions.find((version) => version.state === "draft");
    if (!this.latest) return { chip: ["New", "info"], lead: "Not saved yet" };
    if (draft) return { chip: ["Draft", "info"], lead: `Version ${draft.version}, saved ${shortDateTime(draft.saved_at)}` };
    const chip = PLAN_STATES[this.latest.state];
    return { chip: history.changed ? ["New draft", "info"] : chip, lead: `Version ${this.latest.version} is ${this.latest.state}${history.changed ? "; saving makes a new draft" : ""}` };
  }
}
