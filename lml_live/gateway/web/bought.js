/** What this visitor has already bought of one event: the map keeps showing these seats as theirs. */

import { CallFailed, listBookings } from "./bookingapi.js";
import { BOUGHT } from "./checkoutwords.js";
import { readToken } from "./live.js";

/** Set once something was bought in this browser: only then the server is asked. */
const KNOWN_KEY = "lml.has-bookings";
const PAGES_MAX = 4;

export function rememberBuying() {
  try {
    localStorage.setItem(KNOWN_KEY, "1");
  } catch {
    // Without storage there is no holder to remember either.
  }
}

function hasBought() {
  try {
    return localStorage.getItem(KNOWN_KEY) !== null;
  } catch {
    return false;
  }
}

export class Bought {
  /** @param {string} event @param {() => void} changed */
  constructor(event, changed) {
    this.event = event;
    this.changed = changed;
    /** @type {Map<string, object>} */
    this.bookings = new Map();
    this._seats = null;
  }

  /** Asks the server, where there may be something; what cannot be read now is shown another time. */
  async load() {
    const token = readToken();
    if (!token || !hasBought()) return;
    try {
      let cursor = null;
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const { items, next } = await listBookings(token, { cursor });
        items.forEach((booking) => this._take(booking));
        cursor = next;
        if (cursor === null) break;
      }
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
    }
    this.changed();
  }

  /** Takes what the checkout has read. */
  add(booking) {
    this._take(booking);
    this.changed();
  }

  _take(booking) {
    if (booking.event !== this.event) return;
    if (BOUGHT.has(booking.state)) this.bookings.set(booking.id, booking);
    else this.bookings.delete(booking.id);
    this._seats = null;
  }

  /** How many places, standing ones too. */
  get places() {
    return [...this.bookings.values()].reduce((sum, booking) => sum + booking.lines.length, 0);
  }

  /** @param {object|null} layout @returns {Set<number>} the indexes of the seats */
  seats(layout) {
    if (!layout) return new Set();
    if (this._seats?.layout !== layout) {
      const ids = [...this.bookings.values()].flatMap((booking) => booking.seats);
      this._seats = { layout, indexes: new Set(ids.map((id) => layout.indexOf(id)).filter((index) => index >= 0)) };
    }
    return this._seats.indexes;
  }
}
