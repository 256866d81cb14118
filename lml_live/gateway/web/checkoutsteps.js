/** What each step of the checkout shows: title, body and buttons. What the buttons do is in checkout.js. */

import { bookingAddress } from "./bookingapi.js";
import { explainQueue, explainState, explainWaiting } from "./checkoutwords.js";
import { element } from "./dom.js";
import { signedIn } from "./signedin.js";
import { money } from "./words.js";

/** Who has signed in finds this booking on every device; the way there and back keeps the seats. */
function accountHint() {
  if (signedIn()) return element("p", { class: "hint" }, "It will be among your account's bookings.");
  const link = element("a", { href: "/account", class: "account-link" }, "Sign in");
  link.href = `/account?back=${encodeURIComponent(location.pathname)}`;
  return element("p", { class: "hint" }, "Have an account? ", link, ": your seats come along.");
}

/** Whether the card that pays is to be saved: for the account, if its buyer says so. */
function saveCardChoice(checkout) {
  if (!signedIn()) return [];
  return [element("label", { class: "save-card" }, checkout.saveCard, "Save the card for my next booking. Stripe keeps it; you can remove it on your account’s page.")];
}

/** @type {Object<string, (checkout: object) => {title: string, body: Node[], acts: Node[]}>} */
export const STEPS = Object.freeze({
  details: (checkout) => ({
    title: "Checkout",
    body: [checkout.name.row, checkout.email.row, element("p", { class: "hint" }, "The e-mail address gets the receipt."), accountHint(), ...saveCardChoice(checkout)],
    acts: [primary("continue-button", "Continue to payment"), plain("Back to my seats", () => checkout.close())],
  }),

  preparing: (checkout) => ({
    title: "Checkout",
    body: [
      spinner(checkout.returned ? "Looking at your payment…" : "Getting the payment ready…"),
      element("p", { class: "hint", id: "queue-note", role: "status" }, explainQueue(checkout.booking?.payment.queue)),
    ],
    acts: [],
  }),

  pay: (checkout) => ({
    title: "Payment",
    body: [element("div", { class: "card-host" })],
    acts: [
      primary("pay-button", `Pay ${money(checkout.booking.amount, checkout.booking.currency)}`),
      plain("Cancel and give the seats back", () => checkout.askCancel(), "cancel-button"),
    ],
  }),

  waiting: (checkout) => ({
    title: "Almost done",
    body: [
      spinner(explainWaiting(checkout.booking, checkout.sent), "waiting-note"),
      element("p", { class: "hint" }, "You may leave this page: the booking goes on without it, and “My bookings” shows it."),
    ],
    acts: [],
  }),

  ending: () => ({
    title: "Giving the seats back",
    body: [spinner("The payment is being called off. Should it have been faster, the seats are yours.")],
    acts: [],
  }),

  done: (checkout) => {
    const words = explainState(checkout.booking);
    const text = checkout.cancelAsked ? "The payment was faster than the cancellation, so the seats are yours." : words.text;
    return {
      title: words.title,
      body: [element("p", { class: "outcome", data: { tone: words.tone }, role: "status" }, text)],
      acts: [
        element("a", { class: "button primary", id: "booking-link", href: bookingAddress(checkout.booking) }, "Show my booking"),
        plain("Back to the hall", () => checkout.close()),
      ],
    };
  },

  over: (checkout) => {
    const words = checkout.booking && explainState(checkout.booking);
    return {
      title: words?.title ?? "These seats are gone",
      body: [element("p", { class: "outcome", data: { tone: "warn" }, role: "status" }, checkout.refusal || words?.text || "")],
      acts: [primary("again-button", "Choose seats", () => checkout.close())],
    };
  },
});

/** "Give the seats back?" instead of the step's buttons: one slip of a finger must not lose seats. */
export function cancelQuestion({ yes, no }) {
  const question = element("p", { class: "ask", id: "ask-cancel" }, "Give the seats back? Others can take them at once.");
  const button = primary("cancel-yes", "Yes, give them back", yes);
  button.setAttribute("aria-describedby", question.id);
  return [question, button, plain("No, go on paying", no)];
}

function primary(id, words, onclick) {
  return element("button", { class: "button primary", type: onclick ? "button" : "submit", id, onclick }, words);
}

function plain(words, onclick, id) {
  return element("button", { class: "button plain", type: "button", id, onclick }, words);
}

function spinner(words, id) {
  return element("div", { class: "message", role: "status" }, element("div", { class: "spinner" }), element("p", { class: "muted", id }, words));
}
