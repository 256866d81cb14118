/**
 * Steps back and forth over plans. A plan shares with its neighbour all that the step between them left alone, so a step
 * keeps only the rows that it replaced; still both their number and their weight in seats are bounded. Pure.
 */

export const STEPS_MAX = 300;
/** What all steps together may keep beside the plan itself: some 100 bytes a seat. */
export const WEIGHT_MAX = 600_000;

/** How many seats of `before` the step to `after` keeps alive that `after` does not: those of replaced rows. */
export function weightOf(before, after) {
  const kept = new Set();
  for (const section of after.sections) kept.add(section);
  let weight = 1;
  for (const section of before.sections) {
    if (kept.has(section) || !section.rows) continue;
    const rows = new Set();
    for (const other of after.sections) if (other.name === section.name) for (const row of other.rows ?? []) rows.add(row);
    for (const row of section.rows) if (!rows.has(row)) weight += row.seats.length;
  }
  return weight;
}

export class History {
  constructor(plan, { stepsMax = STEPS_MAX, weightMax = WEIGHT_MAX } = {}) {
    this.plan = plan;
    this.saved = plan;
    this._limits = { stepsMax, weightMax };
    this._past = []; // {name, plan before, weight, merge}
    this._future = [];
  }

  /**
   * One step on. Steps that follow each other under one `merge` become one: a drag, a key that is held down.
   * @param {string} name what was done, as it is shown
   */
  act(name, plan, merge = null) {
    if (plan === this.plan) return;
    const last = this._past[this._past.length - 1];
    if (merge !== null && last?.merge === merge && !this._future.length) {
      last.weight = weightOf(last.plan, plan);
    } else {
      this._past.push({ name, plan: this.plan, weight: weightOf(this.plan, plan), merge });
    }
    this.plan = plan;
    this._future = [];
    this._trim();
  }

  /** @returns {string|null} what was taken back; null where there is nothing */
  undo() {
    return this._step(this._past, this._future);
  }

  /** @returns {string|null} what was done again */
  redo() {
    return this._step(this._future, this._past);
  }

  /** What `undo` would take back, and `redo` do again: names or null. */
  get last() {
    return this._past[this._past.length - 1]?.name ?? null;
  }

  get next() {
    return this._future[this._future.length - 1]?.name ?? null;
  }

  /** The names of the steps so far, the latest first. */
  get names() {
    return this._past.map((step) => step.name).reverse();
  }

  get changed() {
    return this.plan !== this.saved;
  }

  /** The server has this plan now. */
  keep(plan = this.plan) {
    this.saved = plan;
  }

  _step(from, to) {
    const step = from.pop();
    if (!step) return null;
    to.push({ ...step, plan: this.plan, merge: null });
    this.plan = step.plan;
    return step.name;
  }

  _trim() {
    let weight = this._past.reduce((sum, step) => sum + step.weight, 0);
    while (this._past.length > 1 && (this._past.length > this._limits.stepsMax || weight > this._limits.weightMax)) {
      weight -= this._past.shift().weight;
    }
  }
}
