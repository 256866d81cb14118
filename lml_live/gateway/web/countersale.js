/** Sells at the counter: a customer's hold, or seats and places that nobody holds, for what the counter takes. */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { randomKey } from "./keys.js";
import { Layout } from "./layout.js";
import { StaffSession } from "./staffsession.js";
import { dateTime, money, plural } from "./words.js";

/** What the server tells about at once. */
const SEATS_ASKED_MAX = 100;
const FREE = "available";
const SEAT_WORDS = { available: "free", house: "kept by the house", kill: "not for sale", held: "held", sold: "sold" };
const REFUSALS = {
  seat_taken: "Some of it is somebody else's by now.",
  area_full: "There are not enough places left, not even with those kept by the house.",
  hold_not_found: "This hold is not there any more.",
  hold_expired: "This hold's time is over.",
  hold_in_checkout: "This hold is being paid for online.",
  sale_paused: "The sale is paused.",
  sale_closed: "The sale is over.",
  sale_not_open: "The sale has not begun.",
};

const session = new StaffSession({
  title: "Sign in at the counter",
  parts: ["sale"],
  forbidden: "This account does not work at the counter.",
  start,
  missing: () => session.tell("There is no such event", "It may have been taken off sale."),
});
let shown = null; // the event and its layout
let chosen = new Map(); // seat id → its words and its category
let pending = null; // a sale of which no answer came: sent again, it is the same sale

async function start() {
  session.head("Sell at the counter");
  const events = await call("GET", "/events?limit=200", { token: null });
  if (!events.items.length) {
    session.tell("No events yet", "There is nothing to be sold.");
    return;
  }
  fill(byId("event"), ...events.items.map((one) => element("option", { value: one.id }, `${one.name}, ${dateTime(one.starts_at)}`)));
  const named = new URLSearchParams(location.search).get("event");
  if (events.items.some((one) => one.id === named)) byId("event").value = named;
  await show();
  byId("sale").hidden = false;
}

async function show() {
  const event = await call("GET", `/events/${encodeURIComponent(byId("event").value)}`, { token: null });
  const { id, hash } = event.layout;
  const layout = new Layout(await call("GET", `/layouts/${encodeURIComponent(id)}/${encodeURIComponent(hash)}`, { token: null }));
  shown = { event, layout };
  const sections = layout.sections.flatMap((section, number) => (section.count ? [[section.name, number]] : []));
  fill(byId("section"), ...sections.map(([name, number]) => element("option", { value: String(number) }, name)));
  byId("rows").hidden = byId("seats").hidden = !sections.length;
  fill(byId("areas"), ...event.areas.map((area) => element("label", {}, area.name, element("input", { type: "number", min: "0", max: "50", value: "0", data: { area: area.area_id }, inputMode: "numeric" }))));
  await refresh();
}

/** What may have changed with every sale: the holds, and the seats of the row. */
async function refresh() {
  chosen = new Map();
  const holds = await call("GET", `/box-office/${encodeURIComponent(shown.event.id)}/holds?limit=200`, { token: session.token });
  const choice = (value, words) => element("label", {}, element("input", { type: "radio", name: "what", value, checked: value === "" }), words);
  const size = (hold) => hold.seats.length + Object.values(hold.areas).reduce((sum, n) => sum + n, 0);
  fill(byId("choices"), choice("", "Seats and places that nobody holds"), ...holds.items.map((hold) => choice(hold.id, `${hold.customer}: ${plural(size(hold), "place")}, ${hold.reason}`)));
  for (const input of byId("areas").querySelectorAll("input")) input.value = "0";
  choose();
  await showRows();
}

function choose() {
  byId("places").hidden = Boolean(valueOf("what"));
  tell();
}

function valueOf(name) {
  return document.querySelector(`input[name="${name}"]:checked`)?.value ?? "";
}

function showRows() {
  const section = shown.layout.sections[Number(byId("section").value)];
  const rows = (section?.rows ?? []).filter((row) => shown.layout.rows[row].count);
  fill(byId("row"), ...rows.map((row) => element("option", { value: String(row) }, shown.layout.rows[row].label)));
  return showSeats();
}

async function showSeats() {
  const { layout, event } = shown;
  const row = layout.rows[Number(byId("row").value)];
  if (!row || byId("rows").hidden) return;
  const ids = layout.seatIds.slice(row.first, row.first + row.count);
  const found = [];
  for (let at = 0; at < ids.length; at += SEATS_ASKED_MAX) {
    const part = ids.slice(at, at + SEATS_ASKED_MAX).join(",");
    found.push(...(await call("GET", `/events/${encodeURIComponent(event.id)}/seats?ids=${part}`, { token: session.token })).items);
  }
  if (row !== layout.rows[Number(byId("row").value)]) return; // another row was asked for meanwhile
  fill(byId("seats"), ...found.map((seat, n) => element("li", {}, seatButton(seat, row.first + n))));
}

function seatButton(seat, index) {
  const { layout } = shown;
  const number = layout.numbers[index];
  const sells = seat.status === FREE || seat.status === "house";
  const words = `${layout.sections[layout.sectionOf[index]].name} ${layout.rows[layout.rowOf[index]].label} ${number}`;
  const mine = () => String(chosen.has(seat.seat_id));
  const button = element("button", { type: "button", "aria-label": `Seat ${number}, ${seat.category}, ${SEAT_WORDS[seat.status] ?? seat.status}`, "aria-pressed": mine(), data: { house: String(seat.status === "house"), seat: seat.seat_id } }, number);
  if (!sells) button.setAttribute("aria-disabled", "true");
  button.addEventListener("click", () => {
    if (!sells) return;
    // Tables and boxes sell only whole.
    const all = layout.wholes.get(index) ?? [index];
    const take = !chosen.has(seat.seat_id);
    for (const one of all) {
      const category = layout.categories[layout.categoryOf[one]];
      if (take) chosen.set(layout.seatIds[one], { category, words: one === index ? words : `${words} and with it ${layout.numbers[one]}` });
      else chosen.delete(layout.seatIds[one]);
    }
    for (const other of byId("seats").querySelectorAll("button")) other.setAttribute("aria-pressed", String(chosen.has(other.dataset.seat)));
    tell();
  });
  return button;
}

/** Places by area, of those of which some are wished for. */
function wishedAreas() {
  const wishes = [...byId("areas").querySelectorAll("input")].map((input) => [input.dataset.area, Number(input.value)]);
  return wishes.filter(([, n]) => n > 0);
}

/** What is chosen and what it costs: a category's first price is the one that is sold where no type is said. */
function tell() {
  const { event } = shown;
  const price = (category) => event.prices.find((one) => one.category === category) ?? { amount: 0, fee: 0 };
  const seats = [...chosen.values()];
  const places = wishedAreas().flatMap(([id, n]) => Array(n).fill(event.areas.find((area) => area.area_id === id)));
  const sum = [...seats, ...places].reduce((total, { category }) => total + price(category).amount + price(category).fee, 0);
  const parts = [seats.length && `${plural(seats.length, "seat")}: ${seats.map((seat) => seat.words).join(", ")}`, places.length && plural(places.length, "place"), (seats.length || places.length) && money(sum, event.currency)];
  setText(byId("chosen"), parts.filter(Boolean).join(" · "));
}

/** What is to be sold, as the call wants it; null where nothing is chosen. */
function body() {
  const made = { tender: valueOf("tender") };
  const [hold, name, email, reason] = [valueOf("what"), byId("buyer").value.trim(), byId("buyer-email").value.trim(), byId("reason").value.trim()];
  if (hold) made.hold = hold;
  else {
    made.seats = [...chosen.keys()];
    made.areas = Object.fromEntries(wishedAreas());
    if (!made.seats.length && !Object.keys(made.areas).length) return null;
  }
  if (name || email) made.buyer = { ...(name && { name }), ...(email && { email }) };
  if (reason) made.reason = reason;
  return made;
}

async function sell() {
  const wish = body();
  setText(byId("refusal"), wish ? "" : "Choose a hold, seats or places.");
  if (!wish) return;
  if (!byId("buyer-email").validity.valid) {
    setText(byId("refusal"), "This is no e-mail address.");
    byId("buyer-email").focus();
    return;
  }
  const asked = `${shown.event.id} ${JSON.stringify(wish)}`;
  if (pending?.asked !== asked) pending = { asked, key: randomKey() };
  byId("sell").disabled = true;
  try {
    const path = `/box-office/${encodeURIComponent(shown.event.id)}/sales`;
    const booking = await call("POST", path, { token: session.token, key: pending.key, body: wish });
    pending = null;
    for (const id of ["buyer", "buyer-email", "reason"]) byId(id).value = "";
    sold(booking);
    await session.attempt(refresh);
    byId("state").querySelector("a")?.focus();
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    if (error.passing) {
      setText(byId("refusal"), "No answer came. Press again: it is sold once.");
      return;
    }
    pending = null;
    if (error.status === 401 || (error.status === 403 && !(error.code in REFUSALS))) await session.attempt(() => Promise.reject(error));
    setText(byId("refusal"), REFUSALS[error.code] ?? error.problem?.detail ?? "It was refused.");
    if (error.code in REFUSALS) await session.attempt(refresh);
  } finally {
    byId("sell").disabled = false;
  }
}

function sold(booking) {
  const places = plural(booking.lines.length, "place");
  const words = booking.tender === "comp" ? `${places} given away, worth ${money(booking.forgone ?? 0, booking.currency)}` : `${places} sold: take ${money(booking.amount, booking.currency)}`;
  const link = (href, text) => element("a", { class: "button", href, target: "_blank", rel: "noreferrer" }, text);
  const tickets = link(`/bookings/${encodeURIComponent(booking.id)}#${booking.access}`, "Booking and tickets");
  const back = link(`/counter/bookings?booking=${encodeURIComponent(booking.id)}`, "Give back");
  fill(byId("state"), element("div", { class: "message" }, element("h2", {}, words), tickets, " ", back));
}

byId("sale").addEventListener("submit", (event) => {
  event.preventDefault();
  sell();
});
byId("event").addEventListener("change", () => session.attempt(show));
byId("choices").addEventListener("change", choose);
byId("areas").addEventListener("input", tell);
byId("section").addEventListener("change", () => session.attempt(showRows));
byId("row").addEventListener("change", () => session.attempt(showSeats));
session.begin();
