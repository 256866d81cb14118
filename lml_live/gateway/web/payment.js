/**
 * Pays a PaymentIntent in the browser. `makePayment` gives the form that fits: our own card form where the server names
 * an `api_base` (the double), Stripe's own element where it does not.
 *
 * Both have `mount(host)`, `focus()`, `unmount()` and `pay({name, email, returnUrl})`, which settles with
 *   {outcome: "sent"}                    the bank has said yes, or will say; the server hears of it by itself
 *   {outcome: "away", url}               the buyer has to go to the bank's page, which sends them back to `returnUrl`
 *   {outcome: "refused", error}          words for `error` are in checkoutwords.js; null: the form has said it
 * and `look()`, which tells how the intent stands after a detour: {sent, error}, or null where nobody answers.
 */

import { CardForm, field, sayWrong } from "./cardform.js";
import { element, fill, setText } from "./dom.js";
import { savedCards, WaysToPay } from "./waystopay.js";

const STRIPE_JS = "https://js.stripe.com/v3/";
/** After these Stripe goes on by itself. */
const SENT = new Set(["requires_capture", "succeeded", "processing"]);
/** How long a press of Pay waits for Stripe's form. */
const LOAD_MS = 10_000;
const UNREACHABLE = Object.freeze({ code: "unreachable" });

/** @param {object} payment `booking.payment`, `ready` */
export function makePayment(payment) {
  return payment.api_base ? new DoublePayment(payment) : new StripeElement(payment);
}

/** The id of the intent that a client secret belongs to. */
export function intentOf(clientSecret) {
  return clientSecret.split("_secret_")[0];
}

/** Our Stripe double, spoken to as Stripe.js speaks to Stripe: publishable key, client secret, form-encoded. */
export class DoublePayment {
  constructor(payment) {
    this.payment = payment;
    this.form = new CardForm();
    this.iban = field("iban", "IBAN", { placeholder: "DE89 3704 0044 0532 0130 00", maxLength: 42, autocomplete: "off" });
    this._card = element("div", {});
    this.ways = new WaysToPay((way) => this._showWay(way));
  }

  mount(host) {
    this.form.mount(this._card);
    fill(host, this.ways.node, this._card, this.iban.row);
    this._showWay(this.ways.way);
    savedCards().then((cards) => this.ways.setCards(cards));
    this._retrieve().then((intent) => this.ways.setMethods(intent.payment_method_types ?? []));
  }

  _showWay({ kind }) {
    this._card.hidden = kind !== "card";
    this.iban.row.hidden = kind !== "sepa_debit";
  }

  focus() {
    if (this.ways.way.kind === "card") this.form.focus();
    else this.ways.node.querySelector("input:checked")?.focus();
  }

  unmount() {}

  async pay({ name, email, returnUrl }) {
    const { kind, id } = this.ways.way;
    if (kind === "saved") return this._confirm({ payment_method: id }, returnUrl);
    const billing = { ...(name ? { "billing_details[name]": name } : {}), ...(email ? { "billing_details[email]": email } : {}) };
    if (kind !== "card") return this._payByBank(kind, billing, returnUrl);
    const card = this.form.read();
    if (card === null) return { outcome: "refused", error: null };
    const method = await this._post("/v1/payment_methods", {
      type: "card",
      "card[number]": card.number,
      "card[exp_month]": String(card.month),
      "card[exp_year]": String(card.year),
      "card[cvc]": card.cvc,
      ...billing,
    });
    if (method.error) return this._refuse(method.error);
    return this._confirm({ payment_method: method.id }, returnUrl);
  }

  async _payByBank(kind, billing, returnUrl) {
    const iban = this.iban.input.value.trim();
    if (kind === "sepa_debit" && !iban) {
      sayWrong(this.iban, "Please give the IBAN of the account.");
      this.iban.input.focus();
      return { outcome: "refused", error: null };
    }
    const data = { type: kind, ...(kind === "sepa_debit" ? { "sepa_debit[iban]": iban } : {}), ...billing };
    const method = await this._post("/v1/payment_methods", data);
    if (method.error) return this._refuse(method.error);
    return this._confirm({ payment_method: method.id }, returnUrl);
  }

  async _confirm(method, returnUrl) {
    const { client_secret: secret } = this.payment;
    const path = `/v1/payment_intents/${intentOf(secret)}/confirm`;
    return this._read(await this._post(path, { client_secret: secret, ...method, return_url: returnUrl }));
  }

  _read(answer) {
    // A confirm that is repeated after its answer was lost is refused, with the intent as it is.
    const late = answer.error?.code === "payment_intent_unexpected_state" ? answer.error.payment_intent : null;
    const intent = late ?? answer;
    if (intent.error) return this._refuse(intent.error);
    if (SENT.has(intent.status)) return { outcome: "sent" };
    const url = intent.next_action?.redirect_to_url?.url;
    if (intent.status === "requires_action" && url) return { outcome: "away", url };
    return this._refuse(intent.last_payment_error ?? {});
  }

  async look() {
    return readIntent(await this._retrieve());
  }

  _retrieve() {
    const { client_secret: secret } = this.payment;
    return this._call("GET", `/v1/payment_intents/${intentOf(secret)}?${new URLSearchParams({ client_secret: secret })}`);
  }

  _refuse(error) {
    this.form.mark(error.param ?? fieldOf(error));
    return { outcome: "refused", error };
  }

  _post(path, fields) {
    return this._call("POST", path, new URLSearchParams(fields));
  }

  async _call(method, path, body) {
    try {
      const response = await fetch(this.payment.api_base.replace(/\/+$/, "") + path, {
        method,
        headers: { Authorization: `Bearer ${this.payment.publishable_key}` },
        body,
        credentials: "omit",
        cache: "no-store",
      });
      return await response.json();
    } catch {
      return { error: UNREACHABLE };
    }
  }
}

/** What an intent says of the last try. */
function readIntent(intent) {
  if (!intent?.status) return null;
  return { sent: SENT.has(intent.status), error: intent.last_payment_error ?? null };
}

function fieldOf(error) {
  const code = error.decline_code ?? error.code ?? "";
  if (code.includes("cvc")) return "cvc";
  if (code === "expired_card") return "exp_year";
  return code === "unreachable" || code === "processing_error" ? null : "number";
}

/**
 * The real Stripe: its script, its Payment Element in its own frame; the card is never seen by this page.
 * Written by Stripe's documentation (docs.stripe.com/payments/accept-a-payment, docs.stripe.com/js); the tests put a
 * script in its place that speaks as documented.
 */
export class StripeElement {
  constructor(payment) {
    this.payment = payment;
    this._note = element("p", { class: "hint", role: "status" });
    this._place = element("div", {});
    this.ways = new WaysToPay((way) => (this._place.hidden = way.kind === "saved"));
    this._prepared = null;
    this._element = null;
  }

  mount(host) {
    fill(host, this.ways.node, this._note, this._place);
    savedCards().then((cards) => this.ways.setCards(cards));
    this._prepare().catch(() => {});
  }

  focus() {
    this._element?.focus();
  }

  unmount() {
    this._element?.destroy();
    this._element = null;
  }

  async pay({ name, email, returnUrl }) {
    if (this._element === null) {
      // It could not be loaded, or is still being loaded: once it is there the card has to be typed first.
      const late = new Promise((_, reject) => setTimeout(reject, LOAD_MS));
      const error = await Promise.race([this._prepare(), late]).then(() => ({ code: "card_form_late" }), () => UNREACHABLE);
      return { outcome: "refused", error };
    }
    const billing = { ...(name ? { name } : {}), ...(email ? { email } : {}) };
    const { kind, id } = this.ways.way;
    const what =
      kind === "saved"
        ? { clientSecret: this.payment.client_secret, confirmParams: { return_url: returnUrl, payment_method: id } }
        : { elements: this._elements, confirmParams: { return_url: returnUrl, payment_method_data: { billing_details: billing } } };
    const { error, paymentIntent } = await this._stripe
      .confirmPayment({ ...what, redirect: "if_required" })
      .catch(() => ({ error: UNREACHABLE }));
    if (SENT.has((paymentIntent ?? error?.payment_intent)?.status)) return { outcome: "sent" };
    if (error?.type === "validation_error") return { outcome: "refused", error: null };
    return { outcome: "refused", error: error?.type === "api_connection_error" ? UNREACHABLE : (error ?? {}) };
  }

  async look() {
    try {
      const stripe = await this._start();
      const { paymentIntent } = await stripe.retrievePaymentIntent(this.payment.client_secret);
      return readIntent(paymentIntent);
    } catch {
      return null;
    }
  }

  /** Stripe's object, made when its script is there. */
  async _start() {
    this._stripe ??= (await loadStripe())(this.payment.publishable_key);
    return this._stripe;
  }

  /** Puts Stripe's element in its place, once; a failure is forgotten, so that the next press of Pay tries anew. */
  _prepare() {
    this._prepared ??= this._build().catch((error) => {
      this._giveUp();
      throw error;
    });
    return this._prepared;
  }

  async _build() {
    this._say("Loading the card form…");
    const stripe = await this._start();
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    this._elements = stripe.elements({ clientSecret: this.payment.client_secret, appearance: { theme: dark ? "night" : "stripe" } });
    const made = this._elements.create("payment");
    await new Promise((resolve, reject) => {
      made.on("ready", resolve);
      made.on("loaderror", ({ error }) => reject(error));
      made.mount(this._place);
    }).catch((error) => {
      made.destroy();
      throw error;
    });
    this._element = made;
    this._say("");
  }

  _giveUp() {
    this._prepared = null;
    this._say("The card form could not be loaded. Press Pay to try again.");
  }

  _say(text) {
    setText(this._note, text);
    this._note.hidden = !text;
  }
}

let loading = null;

/** Stripe's script, once a page; a failure is forgotten, so that the next try loads it again. */
function loadStripe() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = STRIPE_JS;
    script.addEventListener("load", () => (globalThis.Stripe ? resolve(globalThis.Stripe) : reject(new Error("no Stripe"))));
    script.addEventListener("error", () => reject(new Error("no Stripe")));
    document.head.append(script);
  }).catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}
