/** A booking at the counter: `/counter/bookings?booking=…`. Whose it is, how it stands, and places given back for money. */

import { call, CallFailed, Follower } from "./bookingapi.js";
import { explainRefund, explainState } from "./checkoutwords.js";
import { byId, element, fetchJson, fill, setText } from "./dom.js";
import { randomKey } from "./keys.js";
import { Layout } from "./layout.js";
import { StaffSession } from "./staffsession.js";
import { dateTime, money, plural, seatName } from "./words.js";

/** What staff are told of a state beyond its name. */
const TOLD = {
  pending_payment: "Not paid yet; its seats are kept until the time is up.",
  disputed: "The bank has taken the payment back for now, and decides. The seats stay the buyer's; the tickets are flagged.",
  charged_back: "The bank has decided for the buyer: the money is gone. The tickets stay flagged.",
};
/** Sold at the counter, for what: so it is given back there, too. */
const PAID = {
  cash: "Sold at the counter for cash, which is given back in cash.",
  card_terminal: "Sold at the counter's card terminal, which gives it back.",
  comp: "Given away at the counter.",
};
const REFUNDABLE = new Set(["confirmed", "partially_refunded"]);

const session = new StaffSession({
  title: "Sign in at the counter",
  parts: ["find", "booking"],
  forbidden: "This account may not see bookings.",
  start,
  missing: () => session.tell("There is no such booking", "Please look at the number again: it stands on the booking's page and in its e-mails."),
});

let follower = null;
/** What is shown now; another booking has another. */
let shown = null;

async function start() {
  session.head("Booking at the counter");
  byId("find").hidden = false;
  const named = new URLSearchParams(location.search).get("booking");
  byId("number").value = named ?? "";
  if (named) await open(named);
}

async function open(id) {
  follower?.stop();
  byId("booking").hidden = true;
  fill(byId("state"));
  const booking = await call("GET", `/bookings/${encodeURIComponent(id)}`, { token: session.token });
  shown = { booking, event: null, layout: null, chosen: new Set(), reason: "", key: "", asking: false, seen: "" };
  await name(shown);
  show();
  follower = new Follower(id, session.token, { seen, failed: (error) => error.passing || session.attempt(() => Promise.reject(error)) });
  follower.look();
}

async function name(about) {
  try {
    about.event = await fetchJson(`/api/v1/events/${encodeURIComponent(about.booking.event)}`);
    const { id, hash } = about.event.layout;
    if (about.booking.seats.length) about.layout = new Layout(await fetchJson(`/api/v1/layouts/${encodeURIComponent(id)}/${encodeURIComponent(hash)}`));
  } catch (error) {
    console.warn("The names of the seats could not be loaded.", error); // a booking is shown without them
  }
}

function seen(booking) {
  const before = shown.booking.state;
  shown.booking = booking;
  if (before !== booking.state) setText(byId("spoken"), explainState(booking).chip);
  if (!shown.asking && shown.seen !== JSON.stringify(booking)) show();
}

function placeOf(line) {
  if (line.area_id !== undefined) return shown.event?.areas.find((area) => area.area_id === line.area_id)?.name ?? "Standing";
  const seat = shown.layout?.indexOf(line.seat_id) ?? -1;
  return seat >= 0 ? seatName(shown.layout.describe(seat)) : "Seat";
}

/** Lines whose places were given back, or are just being. */
function given(booking) {
  return new Set(booking.refunds.filter((refund) => refund.state !== "failed").flatMap((refund) => refund.lines));
}

function show() {
  const { booking, event } = shown;
  shown.seen = JSON.stringify(booking);
  const { chip, tone } = explainState(booking);
  const gone = given(booking);
  const refundable = REFUNDABLE.has(booking.state);
  const verdict = element(
    "div",
    { class: "verdict", data: { tone } },
    element("span", { class: "chip", data: { tone } }, chip),
    element("h2", { id: "buyer" }, booking.buyer.name),
    booking.buyer.email && element("p", { class: "muted" }, booking.buyer.email),
    booking.tender && element("p", { class: "muted", id: "tender" }, PAID[booking.tender]),
    TOLD[booking.state] && element("p", { id: "told" }, TOLD[booking.state]),
  );
  const rows = booking.lines.map((line) => {
    const back = gone.has(line.line);
    const box = element("input", { type: "checkbox", name: "line", value: String(line.line), checked: shown.chosen.has(line.line), onclick: () => choose(line.line) });
    const where = element("span", {}, placeOf(line), back && element("small", {}, "Given back"));
    const amount = element("span", { class: "amount" }, money(line.amount + line.fee, booking.currency));
    return element("li", { class: back ? "line back" : "line" }, refundable && !back ? element("label", { class: "pick" }, box, where) : where, amount);
  });
  const total = element("p", { class: "total" }, element("span", {}, "Total"), element("span", {}, money(booking.amount, booking.currency)));
  fill(
    byId("booking"),
    verdict,
    element("div", { class: "when" }, element("h2", {}, event?.name ?? booking.event), element("p", { class: "muted" }, event ? [dateTime(event.starts_at), event.venue].join(" · ") : "")),
    element("div", {}, element("ul", { class: "lines", "aria-label": "Places" }, ...rows), total, refundRows(booking)),
    element("div", { class: "acts", id: "acts" }),
  );
  byId("booking").hidden = false;
  showActs();
}

function refundRows(booking) {
  if (!booking.refunds.length) return null;
  const rows = booking.refunds.map((refund) => element("li", { class: "line" }, element("span", {}, explainRefund(refund, booking.tender).text.replace("your card", "the card").replace("Your bank", "The bank"), element("small", {}, refund.reason)), element("span", { class: "amount" }, `−${money(refund.amount, booking.currency)}`)));
  return element("ul", { class: "lines", id: "refunds", "aria-label": "Refunds" }, ...rows);
}

function choose(line) {
  if (!shown.chosen.delete(line)) shown.chosen.add(line);
  showActs();
}

function showActs() {
  const { booking, chosen } = shown;
  const number = element("p", { class: "note" }, element("span", { class: "reference" }, `Booking ${booking.id}`));
  if (!REFUNDABLE.has(booking.state)) {
    fill(byId("acts"), number);
    return;
  }
  const words = chosen.size ? `Give ${plural(chosen.size, "place")} back` : "Choose places to give back";
  fill(
    byId("acts"),
    element("label", { class: "reason", for: "reason" }, "Reason", element("input", { id: "reason", name: "reason", maxLength: 200, autocomplete: "off", value: shown.reason, oninput: typed })),
    element("button", { class: "button primary", type: "button", id: "refund", disabled: !chosen.size, onclick: ask }, words),
    element("p", { class: "account-error", id: "wrong", role: "alert" }),
    number,
  );
}

function typed(event) {
  shown.reason = event.target.value;
  setText(byId("wrong"), "");
}

/** What is chosen costs; what goes back the server says, where a part went back before. */
function ask() {
  const { booking, chosen } = shown;
  if (!shown.reason.trim()) {
    setText(byId("wrong"), "Please say why.");
    byId("reason").focus();
    return;
  }
  shown.asking = true;
  shown.key = randomKey();
  const amount = booking.lines.filter((line) => chosen.has(line.line)).reduce((sum, line) => sum + line.amount + line.fee, 0);
  fill(
    byId("acts"),
    element("p", { class: "ask", id: "ask" }, `Give ${plural(chosen.size, "place")} for ${money(amount, booking.currency)} back to ${booking.buyer.name}? The seats go on sale at once.`),
    element("button", { class: "button primary", type: "button", id: "yes", onclick: () => session.attempt(refund) }, "Yes, refund"),
    element("button", { class: "button", type: "button", id: "no", onclick: leave }, "No"),
    element("p", { class: "account-error", id: "wrong", role: "alert" }),
  );
  byId("no").focus();
}

function leave() {
  shown.asking = false;
  show();
  byId("refund")?.focus();
}

async function refund() {
  const { booking, chosen, key } = shown;
  const reason = shown.reason.trim();
  byId("yes").disabled = true;
  const left = booking.lines.length - given(booking).size;
  // All that is left is all the money that is left, whatever its lines once cost.
  const body = chosen.size === left ? { reason } : { reason, lines: [...chosen].sort((one, other) => one - other) };
  try {
    const made = await call("POST", `/bookings/${encodeURIComponent(booking.id)}/refund`, { token: session.token, key, body });
    setText(byId("spoken"), `${money(made.amount, booking.currency)} refunded`);
  } catch (error) {
    if (!(error instanceof CallFailed) || error.status === 401) throw error;
    byId("yes").disabled = false; // with the same key: what is tried again is done once
    setText(byId("wrong"), error.problem?.detail ?? "The server did not answer. Trying again cannot refund twice.");
    return;
  }
  shown.chosen.clear();
  shown.reason = "";
  shown.asking = false;
  shown.booking = await call("GET", `/bookings/${encodeURIComponent(booking.id)}`, { token: session.token });
  show();
  byId("title").focus();
  follower.look();
}

byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("number").value.trim();
  if (!id) return;
  history.replaceState(null, "", `/counter/bookings?booking=${encodeURIComponent(id)}`);
  session.attempt(() => open(id));
});
session.begin();
