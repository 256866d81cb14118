/**
 * Stands for https://js.stripe.com/v3/ as far as the pages use it, by docs.stripe.com/js: an Elements group with a
 * Payment Element, confirmPayment with `redirect: "if_required"`, retrievePaymentIntent. It asks api.stripe.com, where
 * the test puts the double; the bank's question is a dialog, as with Stripe.
 */
(() => {
  const API = "https://api.stripe.com/v1/";

  class IntegrationError extends Error {}

  class PaymentElement {
    constructor(group) {
      this.group = group;
      this.listeners = {};
    }

    on(kind, listener) {
      this.listeners[kind] = listener;
      return this;
    }

    mount(host) {
      if (!(host instanceof Element) || !host.isConnected) throw new IntegrationError("The element must be mounted on the page.");
      this.host = host;
      this.number = document.createElement("input");
      this.number.setAttribute("aria-label", "Card number in Stripe's frame");
      host.replaceChildren(this.number);
      const broken = stub.loadErrors > 0 && { type: "api_connection_error", message: "The element could not be loaded." };
      stub.loadErrors -= 1;
      setTimeout(() => (broken ? this.listeners.loaderror?.({ elementType: "payment", error: broken }) : this._getReady()), 10);
    }

    _getReady() {
      this.group.mounted = this;
      this.listeners.ready?.({ elementType: "payment" });
    }

    focus() {
      this.number.focus();
    }

    destroy() {
      this.host.replaceChildren();
      this.group.mounted = null;
    }
  }

  async function ask(key, path, fields) {
    const body = new URLSearchParams({ key, ...fields });
    const answer = await fetch(API + path, { method: "POST", body });
    return answer.json();
  }

  function askBuyer() {
    return new Promise((resolve) => {
      const dialog = document.createElement("dialog");
      for (const outcome of ["Complete", "Fail"]) {
        const button = document.createElement("button");
        button.textContent = `${outcome} at the bank`;
        button.addEventListener("click", () => (dialog.remove(), resolve(outcome)));
        dialog.append(button);
      }
      document.body.append(dialog);
      dialog.showModal();
    });
  }

  function tell({ error, payment_intent: intent }) {
    return { error: { type: "card_error", ...error, payment_intent: error.payment_intent ?? intent } };
  }

  const stub = { loadErrors: 0, made: [] };

  globalThis.Stripe = (key) => {
    if (!key?.startsWith("pk_")) throw new IntegrationError("A publishable key is needed.");
    return {
      elements({ clientSecret, appearance }) {
        const group = { clientSecret, appearance, mounted: null, create: (kind) => (kind === "payment" ? new PaymentElement(group) : null) };
        return group;
      },

      async confirmPayment({ elements, confirmParams, redirect }) {
        if (!elements.mounted) throw new IntegrationError("elements should have a mounted Payment Element.");
        if (redirect !== "if_required") throw new IntegrationError("This page does not expect to be left.");
        if (!URL.canParse(confirmParams.return_url)) throw new IntegrationError("return_url must be a URL.");
        const number = elements.mounted.number.value;
        if (!number) return { error: { type: "validation_error", code: "incomplete_number", message: "Your card number is incomplete." } };
        const { name, email } = confirmParams.payment_method_data.billing_details;
        const [id] = elements.clientSecret.split("_secret_");
        try {
          const card = { type: "card", "card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2034", "card[cvc]": "123" };
          const method = await ask(key, "payment_methods", { ...card, "billing_details[name]": name, "billing_details[email]": email });
          if (method.error) return tell(method);
          const secret = { client_secret: elements.clientSecret };
          let intent = await ask(key, `payment_intents/${id}/confirm`, { ...secret, payment_method: method.id, return_url: confirmParams.return_url });
          if (intent.error) return tell(intent);
          if (intent.status === "requires_action") {
            intent = await ask(key, `3ds2/authenticate/${id}`, { ...secret, outcome: await askBuyer() });
            if (intent.last_payment_error) return tell({ error: intent.last_payment_error, payment_intent: intent });
          }
          return { paymentIntent: intent };
        } catch {
          return { error: { type: "api_connection_error", message: "Failed to fetch" } };
        }
      },

      async retrievePaymentIntent(clientSecret) {
        const [id] = clientSecret.split("_secret_");
        const answer = await fetch(`${API}payment_intents/${id}?${new URLSearchParams({ key, client_secret: clientSecret })}`);
        const intent = await answer.json();
        return intent.error ? { error: intent.error } : { paymentIntent: intent };
      },
    };
  };
  globalThis.Stripe.stub = stub;
})();
