/** The bookings of this browser's visitor, the newest first, page by page. */

import { bookingAddress, CallFailed, listBookings } from "./bookingapi.js";
import { explainState } from "./checkoutwords.js";
import { byId, element, fetchJson, fill } from "./dom.js";
import { readToken } from "./live.js";
import { accountName, showAccount, signedIn } from "./signedin.js";
import { dateTime, money, plural } from "./words.js";

const PAGE = 20;
const state = byId("state");
const list = byId("list");
const more = byId("more");
const events = new Map(); // event id → promise of what is shown of it
let next = null;

function tell(title, text, action) {
  fill(state, element("div", { class: "message" }, element("h2", {}, title), element("p", { class: "muted" }, text), action));
}

function readEvent(id) {
  if (!events.has(id)) events.set(id, fetchJson(`/api/v1/events/${encodeURIComponent(id)}`).catch(() => null));
  return events.get(id);
}

async function card(booking) {
  const event = await readEvent(booking.event);
  const { chip, tone } = explainState(booking);
  return element(
    "li",
    {},
    element(
      "a",
      { class: "card", href: bookingAddress(booking) },
      element("h2", {}, event?.name ?? "Booking"),
      element("span", { class: "chip", data: { tone } }, chip),
      element("span", { class: "where" }, [event && dateTime(event.starts_at), event?.venue].filter(Boolean).join(" · ")),
      element("span", { class: "amount" }, money(booking.amount, booking.currency)),
      element("span", { class: "where" }, plural(booking.lines.length, "place")),
    ),
  );
}

function tellNone() {
  const here = "What you book in this browser is listed here. A booking made elsewhere opens with its own link, or once you sign in.";
  tell("No bookings yet", signedIn() ? "What you book while you are signed in is listed here, whatever device you are on." : here, element("a", { class: "button primary", href: "/" }, "All events"));
}

async function load() {
  const token = readToken();
  if (!token) {
    tellNone();
    return;
  }
  more.disabled = true;
  if (!list.childElementCount) fill(state, element("div", { class: "message" }, element("div", { class: "spinner" }), element("p", { class: "muted" }, "Loading your bookings…")));
  try {
    const page = await listBookings(token, { cursor: next, limit: PAGE });
    const cards = await Promise.all(page.items.map(card));
    list.append(...cards);
    next = page.next ?? null;
    fill(state);
    if (!list.childElementCount) tellNone();
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    if (error.status === 401) tellNone();
    else tell("Your bookings could not be loaded", error.status ? `The server answered with ${error.status}.` : "The server cannot be reached just now.", element("button", { class: "button primary", type: "button", onclick: load }, "Try again"));
  }
  list.hidden = !list.childElementCount;
  more.hidden = next === null;
  more.disabled = false;
}

showAccount();
if (signedIn()) byId("whose").textContent = `What ${accountName() || "you"} booked, on any device.`;
more.addEventListener("click", load);
load();
