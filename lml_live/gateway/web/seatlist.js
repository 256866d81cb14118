/** The same seats without a map: section, row, then the seats of that row as buttons. */

import { element, fill } from "./dom.js";
import { AVAILABLE } from "./seats.js";

export class SeatList {
  /** @param {HTMLElement} host @param {object} page see event.js */
  constructor(host, page) {
    this.host = host;
    this.page = page;
    this.section = element("select", { "aria-label": "Section" });
    this.row = element("select", { "aria-label": "Row" });
    this.seats = element("ul", { class: "seats", "aria-label": "Seats of the row" });
    this.section.addEventListener("change", () => this._showRows());
    this.row.addEventListener("change", () => this._showSeats());
    this._buttons = new Map();
  }

  /** A new layout: the choice begins anew. */
  reset() {
    const { layout } = this.page;
    const sections = layout.sections.flatMap((section, number) => (section.count ? [[section.name, number]] : []));
    if (!sections.length) {
      fill(this.host, element("p", { class: "hint" }, "This event has no numbered seats."));
      return;
    }
    fill(this.section, ...sections.map(([name, number]) => element("option", { value: String(number) }, name)));
    fill(
      this.host,
      element("label", {}, "Section", this.section),
      element("label", {}, "Row", this.row),
      this.seats,
    );
    this._showRows();
  }

  _showRows() {
    const { layout } = this.page;
    const section = layout.sections[Number(this.section.value)];
    fill(this.row, ...section.rows.filter((row) => layout.rows[row].count).map((row) => element("option", { value: String(row) }, layout.rows[row].label)));
    this._showSeats();
  }

  _showSeats() {
    const row = this.page.layout.rows[Number(this.row.value)];
    this._buttons.clear();
    const items = [];
    for (let index = row.first; index < row.first + row.count; index += 1) {
      const button = element("button", { type: "button", onclick: () => this.page.pick(index) }, this.page.layout.numbers[index]);
      this._buttons.set(index, button);
      items.push(element("li", {}, button));
    }
    fill(this.seats, ...items);
    this.update();
  }

  /** States changed: the buttons that are shown say so. */
  update() {
    const { page } = this;
    for (const [index, button] of this._buttons) {
      const state = page.map.states[index];
      const mine = page.map.mine.has(index);
      const taken = !mine && state !== AVAILABLE;
      const words = page.stateWords(index);
      button.setAttribute("aria-pressed", String(mine));
      button.setAttribute("aria-label", `Seat ${page.layout.numbers[index]}, ${page.priceWords(index)}, ${words}`);
      if (taken) {
        button.dataset.state = "taken";
        button.setAttribute("aria-disabled", "true");
      } else {
        delete button.dataset.state;
        button.removeAttribute("aria-disabled");
      }
    }
  }
}
