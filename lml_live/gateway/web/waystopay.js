/**
 * The choice between ways to pay: saved cards, a new card, and what else an intent can be paid by. It shows where there
 * is a choice; where there is none, a new card it is.
 */

import { call, CallFailed } from "./bookingapi.js";
import { element, fill } from "./dom.js";
import { readToken } from "./live.js";
import { signedIn } from "./signedin.js";

/** Stripe's names of methods → ours, of those that our own form knows. */
const METHODS = { ideal: "iDEAL", sepa_debit: "Bank account (SEPA debit)" };

/** "Visa ending in 4242, 12/34" */
export function cardName({ brand, last4, exp_month: month, exp_year: year }) {
  const name = brand.charAt(0).toUpperCase() + brand.slice(1);
  return `${name} ending in ${last4}, ${String(month).padStart(2, "0")}/${String(year).slice(-2)}`;
}

/** The cards that the account which has signed in has saved; none where nobody has, or they cannot be read now. */
export async function savedCards() {
  if (!signedIn()) return [];
  try {
    return (await call("GET", "/accounts/cards", { token: readToken() })).items;
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    return [];
  }
}

export class WaysToPay {
  /** @param {(way: {kind: string, id: string}) => void} chosen is told of each choice, the first one too */
  constructor(chosen) {
    this._told = chosen;
    this._cards = [];
    this._methods = [];
    this.node = element("fieldset", { class: "ways", hidden: true });
    this.way = { kind: "card", id: "card" };
  }

  setCards(cards) {
    this._cards = cards.map((card) => ({ kind: "saved", id: card.id, label: cardName(card) }));
    // The list may come late: whoever is filling in a card by then is left at it.
    const begun = this.node.parentElement?.contains(document.activeElement);
    if (this._cards.length && this.way.kind === "card" && !begun) this.way = this._cards[0];
    this._show();
  }

  /** @param {string[]} names Stripe's, of the intent's methods */
  setMethods(names) {
    this._methods = names.filter((name) => METHODS[name]).map((name) => ({ kind: name, id: name, label: METHODS[name] }));
    this._show();
  }

  _show() {
    const card = { kind: "card", id: "card", label: this._cards.length ? "Another card" : "Card" };
    const ways = [...this._cards, card, ...this._methods];
    const focused = this.node.contains(document.activeElement);
    this.node.hidden = ways.length === 1;
    fill(
      this.node,
      element("legend", {}, "How do you want to pay?"),
      ...ways.map((way) => {
        const input = element("input", { type: "radio", name: "way-to-pay", value: way.id, checked: way.id === this.way.id });
        input.addEventListener("change", () => this._choose(way));
        return element("label", { class: "way" }, input, way.label);
      }),
    );
    if (focused) this.node.querySelector("input:checked").focus();
    this._told(this.way);
  }

  _choose(way) {
    this.way = way;
    this._told(way);
  }
}
