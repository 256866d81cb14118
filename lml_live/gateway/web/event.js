/**
 * One event: loads what never changes (event, layout), follows what does (the live socket), and ties map, panel and
 * list to the visitor's basket.
 */

import { Basket } from "./basket.js";
import { BestSeats } from "./bestseats.js";
import { Bought, rememberBuying } from "./bought.js";
import { Checkout } from "./checkout.js";
import { byId, element, fetchJson, fill, idFrom, setText } from "./dom.js";
import { Layout } from "./layout.js";
import { showLegend } from "./legend.js";
import { Live } from "./live.js";
import { CATEGORY_COLOURS } from "./paint.js";
import { Panel } from "./panel.js";
import { SeatList } from "./seatlist.js";
import { SeatMap } from "./seatmap.js";
import { AVAILABLE } from "./seats.js";
import { showAccount } from "./signedin.js";
import { bannerWords, dateTime, explain, explainHoldChange, money, seatName, STATE_WORDS, statusWords } from "./words.js";

const TOASTS_MAX = 3;
const TOAST_MS = 7_000;
const PHONE = "(max-width: 800px)";
const HALL_STRIP = 120;
/** A plan that is another one than the live socket's is looked for again after this. */
const AGAIN_MS = 300;

class EventPage {
  constructor(id) {
    this.id = id;
    this.event = null;
    this.layout = null;
    this.ready = false;
    this.map = new SeatMap(byId("map"), {
      pick: (index) => this.pick(index),
      pickArea: (areaId) => this.panel.findArea(areaId),
      point: (index, x, y, section) => this._point(index, x, y, section),
      cursor: (index) => this._speakSeat(index),
      leave: () => this._leaveMap(),
    });
    this.live = new Live(id, (notice) => this._notice(notice));
    this.basket = new Basket(this.live, { changed: () => this._mineChanged(), refused: (error) => this._refused(error) });
    this.panel = new Panel(this);
    this.list = new SeatList(byId("by-list-body"), this);
    this.best = new BestSeats(this);
    this.bought = new Bought(id, () => this._mineChanged());
    this.checkout = new Checkout(this);
    this._insets();
    addEventListener("resize", () => this._insets());
    byId("zoom-in").addEventListener("click", () => this.map.zoomBy(1.6));
    byId("zoom-out").addEventListener("click", () => this.map.zoomBy(1 / 1.6));
    byId("zoom-fit").addEventListener("click", () => this.map.fit());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showLegend());
    setInterval(() => this._tick(), 500);
  }

  async start() {
    showLegend();
    try {
      this.event = await fetchJson(`/api/v1/events/${encodeURIComponent(this.id)}`);
    } catch (error) {
      this._cannotOpen(error);
      return;
    }
    this._showEvent();
    this.live.start();
    this.bought.load();
    this._returnToCheckout();
    await this._loadLayout(this.event.layout);
  }

  /** `?checkout={booking}`: back from the bank, or from the booking's page; secrets leave the address at once. */
  _returnToCheckout() {
    const booking = new URLSearchParams(location.search).get("checkout");
    if (!booking) return;
    const access = location.hash.slice(1) || null;
    history.replaceState(null, "", location.pathname);
    this.checkout.resume(booking, access);
  }

  /** The legend and, on a phone, the sheet's round corners lie over the map. */
  _insets() {
    const phone = matchMedia(PHONE).matches;
    this.map.insets = phone ? { top: 44, bottom: 78, side: 12 } : { top: 30, bottom: 64, side: 30 };
    if (!phone || !this.checkout.isOpen) return;
    // The checkout is long: the hall gets what is left above it, at least a strip.
    const most = this.map.canvas.offsetHeight - this.map.insets.top - HALL_STRIP;
    this.map.insets.bottom = Math.max(78, Math.min(most, byId("panel").offsetHeight + 12));
  }

  /** The checkout has opened, grown, shrunk or closed: on a phone the hall moves to where it can be seen. */
  makeRoom() {
    this._insets();
    if (matchMedia(PHONE).matches) this.map.fit();
  }

  // ---- loading

  _showEvent() {
    const { event } = this;
    document.title = `${event.name} · LML Live`;
    setText(byId("name"), event.name);
    setText(byId("where"), [dateTime(event.starts_at), event.venue].filter(Boolean).join(" · "));
    this._prices = new Map();
    for (const price of event.prices ?? []) if (!this._prices.has(price.category)) this._prices.set(price.category, price);
  }

  async _loadLayout(reference) {
    if (this._loading === reference.hash) return;
    this._loading = reference.hash;
    let layout;
    try {
      layout = new Layout(await fetchLayout(reference));
    } catch (error) {
      this._loading = null;
      console.error("The layout cannot be used.", error);
      this._cover("The seating plan could not be loaded", "The sale goes on; only the picture is missing here.", "Try again", () => this._loadLayout(reference));
      return;
    }
    if (this._loading !== reference.hash) return; // a newer one was asked for meanwhile
    this._loading = null;
    layout.hash ||= reference.hash;
    this.layout = layout;
    this._colours = new Map(this.categoryOrder().map((category, at) => [category, at % CATEGORY_COLOURS]));
    this.map.setLayout(layout, (category) => this.colourOf(category));
    this.panel.showPrices();
    this.panel.showAreas();
    this.list.reset();
    this._sync();
  }

  /** Shows the mirror on the map once both speak of the same layout. */
  _sync() {
    const { protocol } = this.live;
    if (!this.layout || !protocol.seats) return;
    if (!this._agrees) {
      this._planChanged();
      // Without a connection the next welcome says which layout it is; with one, what was read may be behind it.
      if (protocol.connection === "live") this._again ??= setTimeout(() => this._reload(), AGAIN_MS);
      return;
    }
    this.map.setStates(protocol.seats);
    this.ready = true;
    this.best.show();
    this._showAreasLeft();
    this._mineChanged();
    this._countSoon();
    if (this.layout.count + this.event.areas.length) byId("cover").hidden = true;
    else this._cover("No places yet", "This event has no seats to choose from.", "All events", () => location.assign("/"));
  }

  /** Whether the map and the live socket speak of the same layout. */
  get _agrees() {
    return this.live.protocol.layout.hash === this.layout.hash;
  }

  _planChanged() {
    this.ready = false;
    this.basket.layoutChanged();
    this._point(-1);
    this._cover("The seating plan has changed", "Loading the new one. Please choose your seats again.");
  }

  /** Reads the event again: prices or layout changed. */
  async _reload() {
    clearTimeout(this._again);
    this._again = null;
    try {
      this.event = await fetchJson(`/api/v1/events/${encodeURIComponent(this.id)}`);
    } catch {
      this.live.reconnectNow();
      return; // what is shown stays; the next change tries again
    }
    this._showEvent();
    if (!this.layout || this.event.layout.hash !== this.layout.hash) {
      await this._loadLayout(this.event.layout);
    } else {
      this.panel.showPrices();
      this.panel.showAreas();
      this._sync();
    }
  }

  _cannotOpen(error) {
    setText(byId("name"), "Event");
    const status = byId("status");
    status.hidden = true;
    if (error.status === 404) {
      setText(byId("name"), "Unknown event");
      this._cover("There is no such event", "The address may be old or mistyped.", "All events", () => location.assign("/"));
    } else {
      const why = error.status ? `The server answered with ${error.status}.` : "The server cannot be reached just now.";
      this._cover("The event could not be loaded", why, "Try again", () => location.reload());
    }
    byId("panel").hidden = true;
    document.querySelector(".stage").classList.add("alone");
  }

  _cover(title, text, action, act) {
    const cover = byId("cover");
    cover.hidden = false;
    const button = action ? element("button", { class: "button primary", type: "button", onclick: act }, action) : element("div", { class: "spinner" });
    fill(cover, element("div", { class: "message", role: "status" }, element("h2", {}, title), element("p", { class: "muted" }, text), button));
  }

  // ---- what the live socket says

  _notice(notice) {
    switch (notice.type) {
      case "connection":
        return this._showStatus();
      case "snapshot":
        if (notice.newEpoch && this.ready) this.toast("The seat map was refreshed. Please check your seats.", "info");
        return this._sync();
      case "seats":
        return this._seatsChanged(notice.changed);
      case "areas":
        this._showAreasLeft();
        return this._countSoon();
      case "holds":
        return this._mineChanged();
      case "holds_lost":
        if (notice.holds.some((hold) => hold.state === "checkout")) this.bought.load(); // paid for meanwhile, perhaps
        if (notice.holds.every((hold) => hold.state === "checkout")) return undefined;
        return this.toast("Seats that were held for you are not yours any more. Please choose again.", "warn");
      case "hold_changed": {
        this.checkout.holdChanged(notice.message);
        if (notice.message.state === "sold") {
          rememberBuying();
          this.bought.load();
        }
        if (this.checkout.speaksOf(notice.message.hold)) return undefined;
        const words = explainHoldChange(notice.message);
        return words && this.toast(words.text, words.tone);
      }
      case "event":
        if (notice.pricesChanged) this._reload();
        if (this.ready) this.best.show();
        return this._showStatus();
      case "layout":
        this._planChanged();
        return this._reload();
      case "token_lost":
        showAccount();
        return this.toast(explain({ code: "unauthorized" }, {}), "warn");
      case "fault":
        return console.warn("The server refused:", notice.code, notice.message);
      default:
        return undefined;
    }
  }

  _seatsChanged(changed) {
    if (!this.ready) return;
    this.map.update(this.live.protocol.seats, changed);
    if (changed.includes(this._tipIndex)) this._showTip(this._tipIndex, ...this._tipPlace);
    if (byId("by-list").open) this.list.update();
    this._countSoon();
  }

  _showAreasLeft() {
    const left = {};
    for (const [areaId, counts] of Object.entries(this.live.protocol.areas)) left[areaId] = counts.available;
    this.map.setAreasLeft(left);
    this.panel.updateAreas();
  }

  _mineChanged() {
    if (!this.layout || !this.live.protocol.limits || !this._agrees) return;
    this.map.setMine([...this.basket.seats.keys(), ...this.bought.seats(this.layout)], this.basket.pending);
    this.panel.showMine();
    this.checkout.update();
    this.list.update();
    if (this._tipIndex >= 0) this._showTip(this._tipIndex, ...this._tipPlace);
  }

  _refused(error) {
    const { protocol } = this.live;
    this.toast(
      explain(error, {
        seat: (index) => this.fullName(index),
        area: (areaId) => this.areaName(areaId),
        limits: protocol.limits,
        onSaleAtMs: protocol.event?.on_sale_at_ms,
        now: this.live.now(),
      }),
      "warn",
    );
    for (const index of error.seats ?? []) if (index < (this.layout?.count ?? 0)) this.map.flash(index);
  }

  // ---- what the visitor does

  /** Takes a free seat, or gives one's own back; says why where neither is possible. */
  pick(index) {
    if (!this.ready) return;
    const hold = this.basket.seats.get(index);
    if (this.bought.seats(this.layout).has(index) || (hold && hold.state !== "active")) {
      this.speak(`${this.fullName(index)} is ${this.stateWords(index)}.`);
      return;
    }
    const seats = this.layout.whole(index);
    const inTheWay = hold ? undefined : seats.find((seat) => this.map.states[seat] !== AVAILABLE);
    if (inTheWay === undefined) {
      this.basket.toggleSeats(seats, this.layout.hash);
      return;
    }
    this.speak(`${this.fullName(inTheWay)} is ${STATE_WORDS[this.map.states[inTheWay]]}.`);
  }

  _leaveMap() {
    byId("map").blur();
    byId("by-list").querySelector("summary").focus();
  }

  _point(index, x, y, section = -1) {
    this._tipIndex = index;
    this._tipPlace = [x, y];
    if (index >= 0) this._showTip(index, x, y);
    else if (section >= 0 && this.layout.sections[section].standing) this._showAreaTip(this.layout.sections[section], x, y);
    else byId("tip").hidden = true;
  }

  _showTip(index, x, y) {
    const about = this.layout.describe(index);
    this._placeTip(x, y, about.section, `Row ${about.row} · Seat ${about.seat}`, `${this.categoryLabel(index)} · ${this.priceWords(index)}`, [this.stateWords(index), about.note].filter(Boolean).join(" · "));
  }

  _showAreaTip(section, x, y) {
    const left = this.live.protocol.areas[section.areaId]?.available;
    const price = this.priceOf(this.layout.categories[section.category]);
    this._placeTip(x, y, section.name, "Standing", price ? money(price.amount + price.fee, this.event.currency) : "", left === undefined ? "" : left ? `${left.toLocaleString()} available` : "full");
  }

  _placeTip(x, y, title, ...lines) {
    const tip = byId("tip");
    tip.hidden = false;
    fill(tip, element("b", {}, title), ...lines.filter(Boolean).map((line) => element("span", {}, line)));
    const left = x + 18 + tip.offsetWidth > this.map.width ? x - 18 - tip.offsetWidth : x + 18;
    const top = y + 18 + tip.offsetHeight > this.map.height ? y - 18 - tip.offsetHeight : y + 18;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  }

  _speakSeat(index) {
    this.speak(`${this.fullName(index)}, ${this.categoryLabel(index)}, ${this.priceWords(index)}, ${this.stateWords(index)}`);
    const { x, y } = this.map.place(index);
    this._point(index, x, y);
  }

  // ---- words

  stateWords(index) {
    if (this.map.pending.has(index)) return "asking…";
    const hold = this.basket.seats.get(index);
    if (hold) return hold.state === "checkout" ? "yours, being paid" : "yours";
    return this.bought.seats(this.layout).has(index) ? "yours, booked" : STATE_WORDS[this.map.states[index]];
  }

  fullName(index) {
    return index >= 0 && index < (this.layout?.count ?? 0) ? seatName(this.layout.describe(index)) : "a seat";
  }

  areaName(areaId) {
    return this.event.areas.find((area) => area.area_id === areaId)?.name ?? "Standing";
  }

  priceOf(category) {
    return this._prices.get(category) ?? null;
  }

  categoryLabel(index) {
    if (index < 0) return "";
    return this.layout.categories[this.layout.categoryOf[index]];
  }

  priceWords(index) {
    const price = this.priceOf(this.layout.categories[this.layout.categoryOf[index]]);
    if (!price) return "no price yet";
    const { currency } = this.event;
    const fee = price.fee ? ` (${money(price.amount, currency)} + ${money(price.fee, currency)} fee)` : "";
    return `${money(price.amount + price.fee, currency)}${fee}`;
  }

  /** The layout's categories, dearest first. */
  categoryOrder() {
    const total = (category) => {
      const price = this.priceOf(this.layout.categories[category]);
      return price ? price.amount + price.fee : -1;
    };
    return [...this.layout.categories.keys()].sort((a, b) => total(b) - total(a));
  }

  colourOf(category) {
    return this._colours.get(category) ?? 0;
  }

  colourOfName(name) {
    return this.colourOf(this.layout.categories.indexOf(name));
  }

  // ---- telling

  speak(text) {
    setText(byId("spoken"), text);
  }

  /** Shows a message for a while; at most a few, the oldest goes first. */
  toast(text, tone = "info") {
    const toasts = byId("toasts");
    for (const other of [...toasts.children]) if (other.dataset.text === text) other.remove();
    const made = element("div", { class: "toast", data: { tone, text } }, element("p", {}, text));
    const close = element("button", { type: "button", "aria-label": "Close", onclick: () => made.remove() }, "×");
    made.append(close);
    toasts.append(made);
    while (toasts.childElementCount > TOASTS_MAX) toasts.firstElementChild.remove();
    setTimeout(() => made.remove(), TOAST_MS);
  }

  _countSoon() {
    this._counting ??= setTimeout(() => {
      this._counting = null;
      if (!this.ready) return;
      const perCategory = new Array(this.layout.categories.length).fill(0);
      let total = 0;
      for (let index = 0; index < this.layout.count; index += 1) {
        if (this.map.states[index] === AVAILABLE) {
          perCategory[this.layout.categoryOf[index]] += 1;
          total += 1;
        }
      }
      for (const area of this.event.areas) {
        const left = this.live.protocol.areas[area.area_id]?.available ?? 0;
        const category = this.layout.categories.indexOf(area.category);
        if (category >= 0) perCategory[category] += left;
        total += left;
      }
      this.panel.showCounts(perCategory, total);
    }, 120);
  }

  _showStatus() {
    const { protocol } = this.live;
    const status = byId("status");
    const [words, tone] = statusWords(protocol, this.live.now());
    setText(status, words);
    status.dataset.tone = tone;
    const banner = byId("banner");
    const text = bannerWords(protocol, this.live.now());
    banner.hidden = !text;
    setText(banner, text);
  }

  _tick() {
    if (!this.event) return;
    this._showStatus();
    this.panel.tick();
    this.checkout.tick();
  }
}

/** The layout's bytes from where the event says, or, should that fail, from this server, which always has them. */
async function fetchLayout(reference) {
  try {
    return await fetchJson(reference.url);
  } catch (error) {
    if (new URL(reference.url, location.href).origin === location.origin) throw error;
    return fetchJson(`/api/v1/layouts/${encodeURIComponent(reference.id)}/${encodeURIComponent(reference.hash)}`);
  }
}

const page = new EventPage(idFrom(location.pathname));

/** For tests and for the curious: what the page knows, without its private parts. */
window.lml = {
  page,
  map: page.map,
  live: page.live,
  basket: page.basket,
  get ready() {
    return page.ready && page.live.protocol.connection === "live";
  },
  get seq() {
    return page.live.protocol.seq;
  },
  get epoch() {
    return page.live.protocol.epoch;
  },
  get mine() {
    return [...page.basket.seats.keys()].sort((a, b) => a - b);
  },
  seatState: (index) => page.live.protocol.seats?.[index] ?? null,
  seatAt: (x, y) => page.map.seatAt(x, y),
  /** A seat's place on the screen, in CSS pixels of the window. */
  place(index) {
    const box = page.map.canvas.getBoundingClientRect();
    const { x, y, r } = page.map.place(index);
    return { x: x + box.left, y: y + box.top, r };
  },
};

// A page that comes back as it was left, from the bank say, may show what is long over.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
showAccount();
page.start();
