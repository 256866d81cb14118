/** What the checkout says, and which step it is at. Pure. */

import { explain, money, plural, shortDateTime } from "./words.js";

/** Bookings whose seats are the buyer's. */
export const BOUGHT = new Set(["authorized", "confirmed", "partially_refunded", "disputed", "charged_back"]);

/** Bookings that have, or had, tickets. */
export const HAS_TICKETS = new Set(["confirmed", "partially_refunded", "refunded", "disputed", "charged_back"]);

/**
 * A ticket in words: none is left of a place that was given back.
 * @param {{state: string, used_at?: string, used_gate?: string}|undefined} ticket
 * @returns {{chip: string, tone: string, text: string}}
 */
export function explainTicket(ticket) {
  switch (ticket?.state) {
    case "valid":
      return { chip: "Valid", tone: "good", text: "" };
    case "used":
      return { chip: "Used", tone: "", text: `Let in ${shortDateTime(ticket.used_at)}, ${ticket.used_gate}.` };
    case "flagged":
      return { chip: "Disputed", tone: "warn", text: "Its payment is disputed or was taken back: the staff at the door decide." };
    default:
      return { chip: "Refunded", tone: "", text: "Given back: it lets nobody in any more." };
  }
}

/**
 * The step of a checkout, from what the server says of its booking and whether this page has sent a card.
 * @param {object} booking
 * @param {boolean} sent a card was accepted, or the buyer comes back from the bank
 * @returns {"preparing"|"pay"|"waiting"|"ending"|"done"|"over"}
 */
export function stepOf(booking, sent) {
  switch (booking.state) {
    case "pending_payment":
      if (booking.payment.status === "preparing") return "preparing";
      return sent || booking.payment.status === "none" ? "waiting" : "pay";
    case "cancelling":
    case "expiring":
      return "ending";
    case "cancelled":
    case "expired":
    case "failed":
    case "refunded":
      return "over";
    default:
      return "done";
  }
}

/** A booking's state for its page and the list: heading, tone, and a sentence. */
export function explainState(booking) {
  switch (booking.state) {
    case "pending_payment":
      if (booking.payment?.status === "none") return { chip: "At the bank", tone: "warn", title: "Your bank is at it", text: "Your bank is dealing with the payment, which may take days. These seats are kept for you until it has answered." };
      return { chip: "Not paid yet", tone: "warn", title: "Not paid yet", text: "These seats are kept for you until the time is up." };
    case "authorized":
    case "confirmed":
      return { chip: "Booked", tone: "good", title: "Your seats are booked", text: booking.tender ? "Bought at the box office: the seats are yours." : "The payment went through and the seats are yours." };
    case "partially_refunded":
      return { chip: "Partly refunded", tone: "info", title: "Partly refunded", text: `A part of the price went back ${where(booking.tender)}.` };
    case "refunded":
      return { chip: "Refunded", tone: "", title: "Refunded", text: `The price went back ${where(booking.tender)}, and the seats are not yours any more.` };
    case "disputed":
      return { chip: "Disputed", tone: "warn", title: "The payment is disputed", text: "Your bank is looking into this payment." };
    case "charged_back":
      return { chip: "Charged back", tone: "warn", title: "The payment was taken back", text: "Your bank has taken this payment back." };
    case "cancelling":
    case "expiring":
      return { chip: "Ending", tone: "warn", title: "Being given back", text: "The payment is being called off; then the seats go back on sale." };
    case "cancelled":
      return { chip: "Cancelled", tone: "", title: "Cancelled", text: "You gave these seats back. Nothing was charged." };
    case "expired":
      return { chip: "Expired", tone: "", title: "The time was up", text: "These seats were not paid in time and went back on sale. Nothing was charged." };
    case "failed":
      return { chip: "Failed", tone: "warn", title: "The payment failed", text: "The seats went back on sale. Nothing was charged." };
    default:
      return { chip: booking.state, tone: "", title: "Your booking", text: "" };
  }
}

/** Where money goes back: to where it came from. */
function where(tender) {
  return tender ? "at the box office" : "to your card";
}

/**
 * A refund in words, and whether its amount counts as given back.
 * @param {{state: string, accepted: string|null, amount: number}} refund
 * @param {string|null} [tender] what the booking was sold for at the counter
 */
export function explainRefund(refund, tender = null) {
  if (refund.amount === 0) return { text: "Given back; it had cost nothing", counts: false };
  if (refund.state === "failed") return { text: refund.accepted ? "Your bank did not take this refund: the box office will write to you" : "This refund could not be made", counts: false };
  if (refund.state === "succeeded") return { text: tender ? "Given back at the box office" : "Refunded to your card", counts: true };
  return refund.accepted ? { text: "Refund on its way to your card", counts: true } : { text: "Refund is being made", counts: false };
}

/** What the buyer waits for, once nothing is left to do. */
export function explainWaiting(booking, sent) {
  if (booking?.payment.status === "none" && booking.amount) return "Your bank is dealing with the payment. That may take days; we write to you, and your seats are kept.";
  return `${sent ? "The payment was sent. " : ""}The box office is confirming your seats…`;
}

/**
 * The queue for payments, in words; "" where there is none.
 * @param {{ahead: number, estimated_seconds: number}|undefined} queue
 */
export function explainQueue(queue) {
  if (!queue) return "";
  const { ahead, estimated_seconds: seconds } = queue;
  const time = seconds < 90 ? plural(seconds, "second") : plural(Math.round(seconds / 60), "minute");
  return `${ahead === 1 ? "One is" : `${ahead} are`} before you, about ${time}. Your seats are kept meanwhile.`;
}

/** Where a refused checkout leaves the visitor: who may go on, and who has to choose again. */
const ENDS = new Set(["hold_expired", "hold_not_found", "seat_taken", "area_full", "sale_closed", "conflict"]);

/**
 * A refusal of `POST /bookings` in plain words.
 * @param {{status: number, code: string, problem: object}} error
 * @param {object} about as for `explain` in words.js
 * @returns {{text: string, ends: boolean}} `ends`: these seats cannot be bought any more
 */
export function explainRefusal(error, about) {
  const ends = ENDS.has(error.code);
  switch (error.code) {
    case "unreachable":
    case "unavailable":
      return { text: "The box office did not answer. You were not charged, and trying again cannot buy twice.", ends };
    case "idempotency_in_progress":
      return { text: "Your order is still being worked on. Please try again in a moment.", ends };
    case "rate_limited":
      return { text: "Very many are paying just now. Your seats stay yours until their time is up: please try again in a moment.", ends };
    case "hold_in_checkout":
      return { text: "These seats are already being paid for, perhaps in another window.", ends };
    case "seat_taken":
      return { text: "We are sorry: one of these seats has been sold meanwhile. You were not charged. Please choose again.", ends };
    case "sale_paused":
      return { text: "The sale is paused just now, so nothing can be bought. Your seats stay yours until their time is up; please try again a little later.", ends };
    case "unauthorized":
      return { text: "Your visit could not be continued. Please reload the page.", ends };
    case "invalid_message":
      return { text: error.problem?.errors?.some(({ path }) => path?.includes("email")) ? "Please look at the e-mail address again." : "Please look at your name and e-mail address again.", ends };
    default:
      return { text: explain({ code: error.code, message: error.problem?.detail, retry_after_ms: error.problem?.retry_after_ms }, about), ends };
  }
}

/** "The price has changed from €95.00 to €105.00." */
export function explainPrice(before, after, currency) {
  return `The price has changed from ${money(before, currency)} to ${money(after, currency)}. Please look at it again; nothing was charged.`;
}

/**
 * A card that was refused, in plain words that say what to do next.
 * @param {{code?: string, decline_code?: string, message?: string}} error as Stripe tells it
 */
export function explainCard(error) {
  switch (error.decline_code ?? error.code) {
    case "insufficient_funds":
      return "There is not enough money on this card. Please try another card.";
    case "expired_card":
      return "This card has expired. Please try another card.";
    case "incorrect_cvc":
      return "The bank says that the security code is wrong. Please look at it again.";
    case "processing_error":
      return "The bank could not handle this payment just now. Please try again.";
    case "payment_intent_authentication_failure":
      return "Your bank did not confirm that it was you. Please try again, or use another card.";
    case "test_mode_live_card":
      return "This is a test shop: please use one of the test cards.";
    case "card_form_late":
      return "The card form is here now. Please fill it in.";
    case "unreachable":
      return "The payment service did not answer. Trying again cannot charge you twice.";
    case "card_declined":
    case "generic_decline":
    case "lost_card":
    case "stolen_card":
    case "fraudulent":
    case "card_velocity_exceeded":
      return "Your bank declined this card. Please try another card, or ask your bank.";
    default:
      return error.message || "The payment did not go through. Please try again, or use another card.";
  }
}
