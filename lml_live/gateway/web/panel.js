/** The panel beside the map: my seats with their time, prices as a filter, standing places by quantity. */

import { bookingAddress } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { linesOf } from "./lines.js";
import { countdown, money, plural, timeOfDay } from "./words.js";

/** From here on the remaining time is shown as urgent and said once. */
const WARN_MS = 60_000;

export class Panel {
  /**
   * @param {object} page what it shows and asks: see event.js
   */
  constructor(page) {
    this.page = page;
    this.filter = new Set();
    this._warned = new Set();
    this._areaParts = new Map();
    this._priceParts = new Map();
    /** The server says so in the page where it cannot sell, and again when it is asked. */
    this.buyingClosed = document.querySelector('meta[name="lml-buying"]')?.content === "closed";
    byId("sheet").addEventListener("click", () => this.openSheet(byId("panel").dataset.open === undefined));
  }

  openSheet(open) {
    const panel = byId("panel");
    if (open) panel.dataset.open = "";
    else delete panel.dataset.open;
    byId("sheet").setAttribute("aria-expanded", String(open));
  }

  /** Prices of the categories that the layout has, dearest first; each a switch that dims the others. */
  showPrices() {
    const { page } = this;
    this._priceParts.clear();
    const rows = page.categoryOrder().map((category) => {
      const name = page.layout.categories[category];
      const price = page.priceOf(name);
      const left = element("small", {});
      const button = element(
        "button",
        { class: "price", type: "button", "aria-pressed": "false", onclick: () => this._toggle(category, button) },
        element("span", { class: "swatch", data: { colour: String(page.colourOf(category)) } }),
        element("span", {}, name || "Seat", left),
        element("span", { class: "amount" }, price ? money(price.amount + price.fee, page.event.currency) : "–", feeNote(price, page.event.currency)),
      );
      this._priceParts.set(category, left);
      return element("li", {}, button);
    });
    fill(byId("prices"), ...rows);
    byId("prices-hint").hidden = rows.length < 2;
    this.filter.clear();
  }

  _toggle(category, button) {
    if (!this.filter.delete(category)) this.filter.add(category);
    button.setAttribute("aria-pressed", String(this.filter.has(category)));
    this.page.map.showOnly(this.filter);
  }

  /** How many are left: in all, and per category. */
  showCounts(perCategory, total) {
    setText(byId("left"), total === null ? "" : `${total.toLocaleString()} available`);
    for (const [category, part] of this._priceParts) {
      const count = perCategory[category] ?? 0;
      setText(part, count ? `${count.toLocaleString()} available` : "none left");
    }
  }

  /** Builds the list of standing areas once per event; `updateAreas` changes numbers only, so focus stays. */
  showAreas() {
    const { page } = this;
    this._areaParts.clear();
    const rows = page.event.areas.map((area) => {
      const price = page.priceOf(area.category);
      const left = element("small", { "aria-live": "off" });
      const count = element("output", {}, "0");
      const less = element("button", { type: "button", "aria-label": `One place less in ${area.name}`, onclick: () => page.basket.changeArea(area.area_id, -1) }, "−");
      const more = element("button", { type: "button", "aria-label": `One more place in ${area.name}`, onclick: () => page.basket.changeArea(area.area_id, 1) }, "+");
      const colour = page.colourOfName(area.category);
      const row = element(
        "li",
        { class: "area" },
        element("span", { class: "swatch", data: { colour: String(colour) } }),
        element("span", {}, area.name, price ? ` · ${money(price.amount + price.fee, page.event.currency)}` : "", left),
        element("span", { class: "stepper", role: "group", "aria-label": area.name }, less, count, more),
      );
      this._areaParts.set(area.area_id, { row, left, count, less, more });
      return row;
    });
    fill(byId("areas"), ...rows);
    byId("areas-section").hidden = !rows.length;
    this.updateAreas();
  }

  updateAreas() {
    const { page } = this;
    for (const [areaId, part] of this._areaParts) {
      const left = page.live.protocol.areas[areaId]?.available;
      const own = page.basket.areaPlaces(areaId);
      setText(part.left, left === undefined ? "" : left ? `${left.toLocaleString()} available` : "full");
      setText(part.count, String(own));
      part.less.disabled = own === 0;
      part.more.disabled = left === 0;
    }
  }

  /** Brings an area that was pointed at on the map into view. */
  findArea(areaId) {
    const part = this._areaParts.get(areaId);
    if (!part) return;
    this.openSheet(true);
    part.row.scrollIntoView({ block: "center" });
    part.row.classList.add("found");
    setTimeout(() => part.row.classList.remove("found"), 1600);
    part.more.focus();
  }

  showMine() {
    const { page } = this;
    const holds = page.basket.holds;
    const host = byId("mine");
    const focused = host.contains(document.activeElement);
    if (!holds.length) {
      const limit = page.live.protocol.limits?.max_seats;
      fill(host, this._bought(), element("p", { class: "hint" }, `Choose a seat on the map.${limit ? ` You can hold up to ${limit}.` : ""}`));
    } else {
      fill(host, this._bought(), ...holds.map((hold) => this._hold(hold)), this._sum(holds));
    }
    if (focused) byId("mine-title").focus();
    const places = page.basket.places;
    setText(byId("sheet-text"), places ? `${plural(places, "place")} · ${money(sum(holds), page.event.currency)}` : "Prices and my seats");
    this._showBuy(holds);
    this.updateAreas();
    this.tick();
  }

  _hold(hold) {
    const { page } = this;
    const active = hold.state === "active";
    const { layout } = page;
    const lines = linesOf(hold, (seatId) => layout.indexOf(seatId)).map(({ seat, areaId, count, amount, fee }) => {
      const name = seat === null ? `${page.areaName(areaId)}${count > 1 ? ` × ${count}` : ""}` : page.fullName(seat);
      const full = seat === null ? name : page.fullName(seat);
      const giveBack = () => (seat === null ? page.basket.changeArea(areaId, -1) : page.basket.toggleSeats(layout.whole(seat), layout.hash));
      return element(
        "li",
        { class: "line" },
        element("span", {}, name, seat === null ? null : element("small", {}, page.categoryLabel(seat))),
        element("span", { class: "amount" }, money(amount + fee, hold.currency), fee ? element("small", {}, `incl. ${money(fee, hold.currency)} fee`) : null),
        active
          ? element("button", { class: "give-back", type: "button", "aria-label": `Give back ${full}`, title: "Give back", onclick: giveBack }, "×")
          : element("span", {}),
      );
    });
    return element(
      "div",
      {},
      active ? null : this._beingPaid(hold),
      element("ul", { class: "lines" }, ...lines),
      active
        ? element(
            "div",
            { class: "acts" },
            element("button", { class: "button plain small", type: "button", onclick: () => page.basket.releaseAll() }, "Give all back"),
            hold.extensions_left > 0
              ? element("button", { class: "button small", type: "button", onclick: () => page.basket.extend(hold.id) }, `More time (${hold.extensions_left} left)`)
              : null,
          )
        : null,
    );
  }

  _beingPaid(hold) {
    return element(
      "div",
      { class: "being-paid" },
      element("span", {}, "Being paid for."),
      hold.booking ? element("button", { class: "button small", type: "button", onclick: () => this.page.checkout.resume(hold.booking) }, "Go on paying") : null,
    );
  }

  _sum(holds) {
    return element("p", { class: "total" }, element("span", {}, "Total"), element("span", { id: "total" }, money(sum(holds), holds[0].currency)));
  }

  _showBuy(holds) {
    const footer = byId("buy");
    const hold = holds.find((candidate) => candidate.state === "active");
    footer.hidden = !hold;
    if (!hold) return;
    const closed = this.buyingClosed && hold.amount > 0; // what costs nothing needs no payment
    const focused = document.activeElement?.id === "buy-button";
    const until = timeOfDay(hold.deadline_ms - this.page.live.protocol.clockOffset);
    fill(
      footer,
      element(
        "button",
        { class: "button primary", type: "button", id: "buy-button", "aria-disabled": closed && "true", "aria-describedby": "buy-words", onclick: () => closed || this.page.checkout.begin(hold) },
        closed ? "Buying is not set up here" : `Buy for ${money(hold.amount, hold.currency)}`,
      ),
      element("p", { id: "buy-words" }, `Your seats stay held until ${until}, then they go back on sale.`),
    );
    if (focused) byId("buy-button").focus();
  }

  /** The server has said that it sells nothing. */
  closeBuying() {
    this.buyingClosed = true;
  }

  /** What was bought before, with the way to it. */
  _bought() {
    const { bought } = this.page;
    if (!bought.places) return null;
    const [first, ...others] = bought.bookings.values();
    return element(
      "p",
      { class: "bought" },
      element("span", {}, `${plural(bought.places, "place")} booked`),
      element("a", { href: others.length ? "/bookings" : bookingAddress(first) }, others.length ? "Show my bookings" : "Show my booking"),
    );
  }

  /** Once a second: the time that is left. */
  tick() {
    const { page } = this;
    const active = page.basket.holds.filter((hold) => hold.state === "active");
    const targets = [byId("mine-time"), byId("sheet-time")];
    if (!active.length) {
      for (const target of targets) {
        setText(target, "");
        delete target.dataset.tone;
      }
      return;
    }
    const hold = active.reduce((first, other) => (other.deadline_ms < first.deadline_ms ? other : first));
    const left = hold.deadline_ms - page.live.now();
    for (const target of targets) {
      setText(target, left > 0 ? countdown(left) : "time is up");
      if (left <= WARN_MS) target.dataset.tone = "warn";
      else delete target.dataset.tone;
    }
    const mark = `${hold.id} ${hold.deadline_ms}`;
    if (left <= WARN_MS && left > 0 && !this._warned.has(mark)) {
      this._warned.add(mark);
      const more = hold.extensions_left > 0 ? " You can ask for more time under “My seats”." : "";
      page.toast(`Your seats are held for one more minute.${more}`, "warn");
    }
  }
}

function feeNote(price, currency) {
  return price?.fee ? element("small", {}, `incl. ${money(price.fee, currency)} fee`) : null;
}

function sum(holds) {
  return holds.reduce((total, hold) => total + hold.amount, 0);
}
