/**
 * What the visitor asks for, one request after the other: a second seat is added to the hold that the first one made.
 * Knows no DOM: it is given something with `request(fields, layout)` and `protocol.holds` (see live.js).
 *
 * Seats are indexes of the layout on which they were chosen. What waits for an earlier pick is asked for under that
 * layout, or not at all.
 */

import { areaQuantity } from "./seats.js";

/** Picks that wait for an earlier one; more than this is not a person choosing seats. */
const WAITING_MAX = 20;

export class Basket {
  /**
   * @param {{request: (fields: object, layout?: string) => Promise<object>, protocol: {holds: Map<string, object>}}} live
   * @param {{changed: () => void, refused: (error: object) => void}} listeners
   */
  constructor(live, listeners) {
    this.live = live;
    this.listeners = listeners;
    /** Seats whose hold or release has been asked for and not answered. @type {Set<number>} */
    this.pending = new Set();
    this.busy = false;
    this._queue = [];
  }

  /** All holds that still count, oldest first. */
  get holds() {
    return [...this.live.protocol.holds.values()].filter((hold) => hold.state !== "sold");
  }

  /** The hold that is added to. */
  get open() {
    return this.holds.find((hold) => hold.state === "active") ?? null;
  }

  /** @returns {Map<number, object>} seat index → hold */
  get seats() {
    return new Map(this.holds.flatMap((hold) => (hold.seats ?? []).map((seat) => [seat, hold])));
  }

  areaPlaces(areaId) {
    return this.holds.reduce((sum, hold) => sum + areaQuantity(hold.areas?.[areaId]), 0);
  }

  get places() {
    return this.holds.reduce(
      (sum, hold) => sum + (hold.seats?.length ?? 0) + Object.values(hold.areas ?? {}).reduce((n, value) => n + areaQuantity(value), 0),
      0,
    );
  }

  /**
   * Takes a seat, or gives one's own back; several where they sell only together.
   * @param {number[]} seats
   * @param {string} layout the hash of the layout on which they were chosen
   */
  toggleSeats(seats, layout) {
    const [first] = seats;
    if (this.pending.has(first)) return;
    if (this.seats.has(first)) this._enqueue(seats, () => this.seats.has(first) && this._release(this.seats.get(first).id, { seats }, layout));
    else this._enqueue(seats, () => this._hold({ seats }, layout));
  }

  /**
   * Takes the seats that the server finds best for a wish; settles with the answer, null where too much waits already.
   * @param {{quantity: number, category?: string}} wish
   * @param {string} layout the hash of the layout that was wished of
   */
  holdBest(wish, layout) {
    return new Promise((resolve) => {
      const asked = this._enqueue([], async () => {
        const answer = await this._hold(wish, layout, "hold_best");
        resolve(answer);
        return answer;
      });
      if (!asked) resolve(null);
    });
  }

  /** Takes `change` more places of an area, or gives some back. */
  changeArea(areaId, change) {
    if (change > 0) {
      this._enqueue([], () => this._hold({ areas: { [areaId]: change } }));
      return;
    }
    this._enqueue([], () => {
      const hold = this.holds.find((candidate) => areaQuantity(candidate.areas?.[areaId]) > 0);
      if (!hold) return null;
      const have = hold.areas[areaId];
      const type = typeof have === "number" ? null : Object.keys(have).find((name) => have[name] > 0);
      const count = Math.min(-change, type === null ? have : have[type]);
      return this._release(hold.id, { areas: { [areaId]: type === null ? count : { [type]: count } } });
    });
  }

  releaseAll() {
    for (const hold of this.holds) {
      if (hold.state === "active") this._enqueue(hold.seats ?? [], () => this._release(hold.id, {}));
    }
  }

  extend(holdId) {
    this._enqueue([], () => this.live.request({ type: "extend", hold: holdId }));
  }

  /** The hall has another layout: an index is another seat now, and none of those is being asked for. */
  layoutChanged() {
    this.pending.clear();
  }

  async _hold(wish, layout, type = "hold") {
    const into = this.open?.id;
    const answer = await this.live.request({ type, ...wish, ...(into ? { into } : {}) }, layout);
    const gone = answer.code === "hold_expired" || answer.code === "hold_not_found" || answer.code === "hold_in_checkout";
    // The hold to add to went meanwhile: what was asked for now is still wanted.
    return into && gone ? this.live.request({ type, ...wish }, layout) : answer;
  }

  _release(hold, part, layout) {
    return this.live.request({ type: "release", hold, ...part }, layout);
  }

  _enqueue(seats, act) {
    if (this._queue.length >= WAITING_MAX) return false;
    for (const seat of seats) this.pending.add(seat);
    this._queue.push({ seats, act });
    this.listeners.changed();
    if (!this.busy) this._drain();
    return true;
  }

  async _drain() {
    this.busy = true;
    while (this._queue.length) {
      const { seats, act } = this._queue.shift();
      const answer = await act();
      for (const seat of seats) this.pending.delete(seat);
      if (answer?.type === "error") this.listeners.refused(answer);
      this.listeners.changed();
    }
    this.busy = false;
    this.listeners.changed();
  }
}
