/** "Best seats": how many, at which price, and the server chooses. A form, so that keyboards and phones know it. */

import { byId, element, fill } from "./dom.js";
import { money, plural } from "./words.js";

export class BestSeats {
  /**
   * @param {object} page what it shows and asks: see event.js
   */
  constructor(page) {
    this.page = page;
    this._shown = "";
    byId("best-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this._find();
    });
  }

  /** Fills the two choices; built anew only where they are others, so that what was chosen stays. */
  show() {
    const { page } = this;
    const most = page.live.protocol.limits?.max_seats ?? 0;
    const seated = new Set(page.layout.categoryOf.subarray(0, page.layout.count));
    const categories = page.categoryOrder().filter((category) => seated.has(category) && page.layout.categories[category]);
    const options = categories.map((category) => {
      const name = page.layout.categories[category];
      const price = page.priceOf(name);
      return [name, price ? `${name} · ${money(price.amount + price.fee, page.event.currency)}` : name];
    });
    byId("best-section").hidden = !most || !seated.size;
    const shown = JSON.stringify([most, options]);
    if (shown === this._shown) return;
    this._shown = shown;
    const [count, price] = [byId("best-count"), byId("best-price")];
    const [counted, priced] = [count.value || "2", price.value];
    fill(count, ...Array.from({ length: most }, (_, at) => element("option", { value: String(at + 1) }, String(at + 1))));
    fill(price, element("option", { value: "" }, "Any price"), ...options.map(([value, words]) => element("option", { value }, words)));
    count.value = String(Math.min(Number(counted), most));
    price.value = options.some(([name]) => name === priced) ? priced : "";
  }

  async _find() {
    const { page } = this;
    if (!page.ready || this._asking) return;
    const quantity = Number(byId("best-count").value);
    const category = byId("best-price").value;
    this._wait(true);
    const before = new Set(page.basket.seats.keys());
    const answer = await page.basket.holdBest({ quantity, ...(category ? { category } : {}) }, page.layout.hash);
    this._wait(false);
    const found = answer?.hold?.seats?.filter((seat) => !before.has(seat)) ?? [];
    if (found.length) page.speak(`${plural(found.length, "seat")} held for you: ${found.map((seat) => page.fullName(seat)).join("; ")}.`);
  }

  /** Said, not disabled: a disabled button would lose the focus. */
  _wait(asking) {
    this._asking = asking;
    const button = byId("best-find");
    button.setAttribute("aria-disabled", String(asking));
    button.textContent = asking ? "Looking…" : "Find best seats";
  }
}
