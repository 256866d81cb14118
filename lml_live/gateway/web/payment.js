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

import { CardForm } from "./cardform.js";

const STRIPE_JS = "https://js.stripe.com/v3/";
/** After these Stripe goes on by itself. */
const SENT = new Set(["requires_capture", "succeeded", "processing"]);

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
  }

  mount(host) {
    this.form.mount(host);
  }

  focus() {
    this.form.focus();
  }

  unmount() {}

  async pay({ name, email, returnUrl }) {
    const card = this.form.read();
    if (card === null) return { outcome: "refused", error: null };
    const billing = { ...(name ? { "billing_details[name]": name } : {}), ...(email ? { "billing_details[email]": email } : {}) };
    const method = await this._post("/v1/payment_methods", {
      type: "card",
      "card[number]": card.number,
      "card[exp_month]": String(card.month),
      "card[exp_year]": String(card.year),
      "card[cvc]": card.cvc,
      ...billing,
    });
    if (method.error) return this._refuse(method.error);
    const { client_secret: secret } = this.payment;
    const intent = await this._post(`/v1/payment_intents/${intentOf(secret)}/confirm`, {
      client_secret: secret,
      payment_method: method.id,
      return_url: returnUrl,
    });
    return this._read(intent);
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
    const { client_secret: secret } = this.payment;
    return readIntent(await this._call("GET", `/v1/payment_intents/${intentOf(secret)}?${new URLSearchParams({ client_secret: secret })}`));
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
      return { error: { code: "unreachable" } };
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
 * Written by Stripe's documentation (docs.stripe.com/payments/accept-a-payment, docs.stripe.com/js); it needs a real
 * key and a way to Stripe, so no test of ours runs it.
 */
export class StripeElement {
  constructor(payment) {
    this.payment = payment;
    this._elements = null;
    this._element = null;
    this._loaded = loadStripe().then((makeStripe) => makeStripe(payment.publishable_key));
    this._loaded.catch(() => {}); // said when the buyer presses the button
    this._ready = null;
  }

  mount(host) {
    this._ready = this._loaded.then((stripe) => {
      this._stripe = stripe;
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      this._elements = this._stripe.elements({ clientSecret: this.payment.client_secret, appearance: { theme: dark ? "night" : "stripe" } });
      this._element = this._elements.create("payment");
      this._element.mount(host);
    });
    this._ready.catch(() => {});
  }

  focus() {
    this._ready.then(() => this._element.focus()).catch(() => {});
  }

  unmount() {
    this._element?.destroy();
  }

  async pay({ name, email, returnUrl }) {
    try {
      await this._ready;
    } catch {
      return { outcome: "refused", error: { code: "unreachable" } };
    }
    const billing = { ...(name ? { name } : {}), ...(email ? { email } : {}) };
    const { error } = await this._stripe.confirmPayment({
      elements: this._elements,
      confirmParams: { return_url: returnUrl, payment_method_data: { billing_details: billing } },
      redirect: "if_required",
    });
    if (!error || SENT.has(error.payment_intent?.status)) return { outcome: "sent" };
    return { outcome: "refused", error };
  }

  async look() {
    try {
      const stripe = await this._loaded;
      const { paymentIntent } = await stripe.retrievePaymentIntent(this.payment.client_secret);
      return readIntent(paymentIntent);
    } catch {
      return null;
    }
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
