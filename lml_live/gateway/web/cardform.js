/** The card form for the Stripe double: number, expiry, security code, and test cards to choose from. */

import { element, fill } from "./dom.js";

/** The double's test cards that show the ways a payment can go; Stripe's own numbers. */
export const TEST_CARDS = Object.freeze([
  ["4242424242424242", "pays"],
  ["4000000000003220", "3-D Secure"],
  ["4000000000009995", "no money"],
  ["4000000000000002", "declined"],
]);

/** "4242424242424242" → "4242 4242 4242 4242" */
export function groupDigits(text) {
  return text.replace(/\D/g, "").slice(0, 19).replace(/(.{4})(?=.)/g, "$1 ");
}

/** "1234" → "12 / 34"; a month of one digit that can only be one gets its zero. */
export function groupExpiry(text) {
  let digits = text.replace(/\D/g, "").slice(0, 4);
  if (/^[2-9]$/.test(digits)) digits = `0${digits}`;
  return digits.length > 2 ? `${digits.slice(0, 2)} / ${digits.slice(2)}` : digits;
}

/**
 * A card as typed, looked through.
 * @returns {{card: object|null, wrong: Object<string, string>}} words for each field that cannot be right
 */
export function readCard({ number, expiry, cvc }, today = new Date()) {
  const digits = number.replace(/\D/g, "");
  const [, month, year] = /^(\d{2})(\d{2})$/.exec(expiry.replace(/\D/g, "")) ?? [];
  const wrong = {};
  if (digits.length < 12 || !checkDigitFits(digits)) wrong.number = "This card number is not complete or has a slip in it.";
  const full = 2000 + Number(year);
  if (!month || Number(month) < 1 || Number(month) > 12) wrong.expiry = "Please give month and year, such as 12 / 34.";
  else if (full * 12 + Number(month) < today.getFullYear() * 12 + today.getMonth() + 1) wrong.expiry = "This card has expired.";
  if (!/^\d{3,4}$/.test(cvc.trim())) wrong.cvc = "The security code has 3 digits, or 4 on some cards.";
  if (Object.keys(wrong).length) return { card: null, wrong };
  return { card: { number: digits, month: Number(month), year: full, cvc: cvc.trim() }, wrong };
}

function checkDigitFits(digits) {
  let sum = 0;
  for (let at = 0; at < digits.length; at += 1) {
    const digit = Number(digits[digits.length - 1 - at]);
    sum += at % 2 ? (digit > 4 ? digit * 2 - 9 : digit * 2) : digit;
  }
  return sum % 10 === 0;
}

/** Stripe's names of what may be wrong → our fields. */
const FIELDS = { number: "number", exp_month: "expiry", exp_year: "expiry", cvc: "cvc" };

export class CardForm {
  constructor() {
    this.number = field("card-number", "Card number", { autocomplete: "cc-number", placeholder: "1234 1234 1234 1234", maxLength: 23 });
    this.expiry = field("card-expiry", "Expiry date", { autocomplete: "cc-exp", placeholder: "MM / YY", maxLength: 7 });
    this.cvc = field("card-cvc", "Security code", { autocomplete: "cc-csc", placeholder: "CVC", maxLength: 4 });
    for (const part of this._parts()) part.input.inputMode = "numeric";
    regroup(this.number.input, groupDigits);
    regroup(this.expiry.input, groupExpiry);
  }

  mount(host) {
    const cards = TEST_CARDS.map(([number, words]) =>
      element(
        "li",
        {},
        element("button", { type: "button", class: "test-card", onclick: () => this._use(number) }, element("span", { class: "digits" }, groupDigits(number)), element("span", {}, words)),
      ),
    );
    fill(
      host,
      this.number.row,
      element("div", { class: "pair" }, this.expiry.row, this.cvc.row),
      element(
        "details",
        { class: "test-cards", open: true },
        element("summary", {}, "Test cards"),
        element("p", { class: "hint" }, "A test shop: no bank is asked and no money moves. Choose a card to fill the form."),
        element("ul", {}, ...cards),
      ),
    );
  }

  focus() {
    (this._parts().find((part) => part.input.getAttribute("aria-invalid") === "true") ?? this.number).input.focus();
  }

  /** The card, or null where a field cannot be right; then the fields say so and the first one has the focus. */
  read() {
    const { card, wrong } = readCard({ number: this.number.input.value, expiry: this.expiry.input.value, cvc: this.cvc.input.value });
    for (const [name, part] of Object.entries({ number: this.number, expiry: this.expiry, cvc: this.cvc })) sayWrong(part, wrong[name] ?? "");
    if (card === null) this.focus();
    return card;
  }

  /** Marks the field that the bank minds; `param` is Stripe's name of it. */
  mark(param) {
    const name = FIELDS[param];
    if (name) this[name].input.setAttribute("aria-invalid", "true");
  }

  _use(number) {
    this.number.input.value = groupDigits(number);
    this.expiry.input.value = "12 / 34";
    this.cvc.input.value = "123";
    for (const part of this._parts()) sayWrong(part, "");
    this.number.input.focus();
  }

  _parts() {
    return [this.number, this.expiry, this.cvc];
  }
}

/** A labelled input with a place for what is wrong with it. */
export function field(id, label, properties) {
  const input = element("input", { id, type: "text", autocapitalize: "off", spellcheck: false, ...properties });
  const wrong = element("p", { class: "wrong", id: `${id}-wrong`, hidden: true });
  input.setAttribute("aria-describedby", wrong.id);
  input.addEventListener("input", () => sayWrong({ input, wrong }, ""));
  return { input, wrong, row: element("div", { class: "field" }, element("label", { for: id }, label), input, wrong) };
}

/** Says below an input what is wrong with it, and in its own terms for those who hear the page; "" takes it back. */
export function sayWrong({ input, wrong }, text) {
  wrong.textContent = text;
  wrong.hidden = !text;
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

/** Groups what is typed, and leaves the caret behind the same digit. */
function regroup(input, group) {
  input.addEventListener("input", () => {
    const digitsBefore = input.value.slice(0, input.selectionStart ?? input.value.length).replace(/\D/g, "").length;
    const atEnd = input.selectionStart === input.value.length;
    input.value = group(input.value);
    if (atEnd) return;
    let at = 0;
    for (let seen = 0; at < input.value.length && seen < digitsBefore; at += 1) if (/\d/.test(input.value[at])) seen += 1;
    input.setSelectionRange(at, at);
  });
}
