/**
 * An organisation, for its managers: whether Stripe can pay it, the way there, what went to its bank, and what it sold, is
 * due, was paid and owes.
 */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill } from "./dom.js";
import { StaffSession } from "./staffsession.js";
import { dateTime, money } from "./words.js";

const PAGE = 20;
/** Where accounts can be opened, as far as this list goes; others by command or over REST. */
const COUNTRIES = { AT: "Austria", BE: "Belgium", CH: "Switzerland", CZ: "Czechia", DE: "Germany", DK: "Denmark", ES: "Spain", FI: "Finland", FR: "France", GB: "United Kingdom", GR: "Greece", IE: "Ireland", IT: "Italy", LU: "Luxembourg", NL: "Netherlands", NO: "Norway", PL: "Poland", PT: "Portugal", SE: "Sweden", US: "United States" };
const WAITS = { hold_back: "held back until then", account: "waits until Stripe can pay the account", decision: "waits for a refund's or a bank's decision" };
const session = new StaffSession({
  title: "Sign in as a manager",
  parts: ["choice", "account", "banks", "statement"],
  forbidden: "This account may not see organisations.",
  start,
  missing: () => session.tell("There is no such organisation", "Or it is none of yours.", element("a", { class: "button primary", href: "/organisation" }, "Yours")),
});
const BANKS = { pending: ["To be sent", "info"], in_transit: ["On its way", "info"], paid: ["Arrived", "good"], failed: ["Refused by the bank", "warn"], canceled: ["Called off", "info"] };
const BANKS_SHOWN = 5;
let next = null;
let shown = null;
let banksNext = null;

function start() {
  const named = new URLSearchParams(location.search).get("organisation");
  return named ? show(named) : choose();
}

async function choose() {
  const page = await call("GET", "/organisations?limit=200", { token: session.token });
  if (page.items.length === 1) {
    await show(page.items[0].id);
    return;
  }
  session.head("Your organisations");
  fill(byId("choice"), ...page.items.map((one) => element("li", {}, element("a", { class: "card", href: `/organisation?organisation=${encodeURIComponent(one.id)}` }, element("h2", {}, one.name), chip(one.account)))));
  byId("choice").hidden = !page.items.length;
  if (!page.items.length) session.tell("None yet", "An administrator makes an organisation, and names who may see it.");
}

function chip(account) {
  const [text, tone] = account?.ready ? ["Can be paid", "good"] : account?.details_submitted ? ["Stripe is checking", "info"] : [account?.id ? "Stripe has questions" : "No account yet", "warn"];
  return element("span", { class: "chip", data: { tone } }, text);
}

async function show(id) {
  shown = await call("GET", `/organisations/${encodeURIComponent(id)}`, { token: session.token });
  const fee = `${shown.fee_basis_points / 100} % and ${money(shown.fee_per_ticket, shown.currency)} a ticket`;
  session.head(shown.name, `Paid ${shown.hold_back_days} days after an event, less ${fee}.`);
  banksNext = null;
  fill(byId("payouts"));
  const newest = await showPayouts(BANKS_SHOWN);
  showAccount(newest?.state === "failed");
  next = null;
  fill(byId("lines"));
  byId("statement").hidden = false;
  await showLines();
}

function showAccount(refused) {
  const account = shown.account?.id ? shown.account : null; // without one, where it is opened can still be said
  let says = "Money is paid through Stripe, which asks who you are and for your bank account. We see neither.";
  if (account) says = "Stripe wants to know more before it pays anybody. What is due waits until then, and is lost to nobody.";
  if (account?.ready) says = "What is due goes to your account at Stripe by itself.";
  if (refused) says = "Your bank refused the last payout: its money is in your account at Stripe again. Go on at Stripe, and check the bank account or name another one. If you have done so, Stripe pays out by itself.";
  const country = element("select", { id: "country" }, ...Object.entries(COUNTRIES).map(([code, name]) => element("option", { value: code, selected: code === (account?.country ?? "DE") }, name)));
  const go = element("button", { class: "button primary", type: "button", onclick: () => session.attempt(() => onboard(account?.country ?? country.value)) }, account ? "Go on at Stripe" : "Set up at Stripe");
  fill(
    byId("account"),
    element("h2", { id: "account-title" }, "Your account"),
    element("p", {}, chip(account)),
    element("p", { class: "muted" }, says),
    (refused || !account?.ready) && element("div", { class: "onboarding" }, !account && element("label", {}, "Country", country), go),
    account?.looked_at && element("p", { class: "muted" }, `As of ${dateTime(account.looked_at)}.`),
  );
  byId("account").hidden = false;
}

function payout(one) {
  const [text, tone] = BANKS[one.state];
  const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });
  return element(
    "li",
    { class: "card" },
    element("h3", {}, money(one.amount, one.currency)),
    element("span", { class: "chip", data: { tone } }, text),
    element("span", { class: "where" }, `Made ${day.format(new Date(one.created))} · to arrive ${day.format(new Date(one.arrives))}`),
    one.failure_reason && element("p", {}, `Not paid: ${one.failure_reason}.`),
  );
}

/** A page of what went to the bank, the newest first; answers its first one. */
async function showPayouts(limit) {
  const page = await call("GET", `/organisations/${encodeURIComponent(shown.id)}/payouts?limit=${limit}${banksNext ? `&cursor=${encodeURIComponent(banksNext)}` : ""}`, { token: session.token });
  byId("payouts").append(...page.items.map(payout));
  banksNext = page.next;
  byId("morepayouts").hidden = banksNext === null;
  byId("banks").hidden = !byId("payouts").childElementCount;
  return page.items[0];
}

async function onboard(country) {
  const link = await call("POST", `/organisations/${encodeURIComponent(shown.id)}/onboarding`, { token: session.token, body: { country } });
  location.assign(link.url);
}

function card(line) {
  const of = (amount) => money(amount, shown.currency);
  const rows = [
    ["Sold", line.sold],
    ["Given back", -line.refunded],
    ["Taken back by banks", -line.charged_back],
    ["Our fees", -line.fees],
    ["Yours", line.share, "sum"],
    ["Paid", line.transferred],
    ["On its way", line.underway],
    ["Kept for what was owed", line.netted],
    ["Could not be taken back", -line.receivable],
    ["Still due", line.due, "sum"],
  ].filter(([, amount, strong]) => amount || strong);
  const stuck = line.stuck ? `Stripe refuses ${of(line.stuck)} of what is on its way. The house must look into it.` : "";
  const when = line.waits_for ? `Due ${dateTime(line.due_at)}: ${WAITS[line.waits_for]}.` : "";
  return element(
    "li",
    { class: "card" },
    element("h3", {}, line.name),
    element("span", { class: "where" }, `${dateTime(line.starts_at)} · ${line.bookings} paid bookings`),
    element("dl", { class: "sums" }, ...rows.flatMap(([name, amount, strong]) => [element("dt", { class: strong }, name), element("dd", { class: strong }, of(amount))])),
    when && element("p", { class: "muted" }, when),
    stuck && element("p", {}, element("span", { class: "chip", data: { tone: "warn" } }, "Stuck"), ` ${stuck}`),
  );
}

async function showLines() {
  const page = await call("GET", `/organisations/${encodeURIComponent(shown.id)}/statement?limit=${PAGE}${next ? `&cursor=${encodeURIComponent(next)}` : ""}`, { token: session.token });
  byId("lines").append(...page.items.map(card));
  next = page.next;
  byId("more").hidden = next === null;
  byId("csv").hidden = !byId("lines").childElementCount;
  if (!byId("lines").childElementCount) session.tell("No events yet", "An event is on your account once it is put at one of your venues.");
}

/** All pages, as one file: the call needs the session, so no plain link will do. */
async function saveCsv() {
  const parts = [];
  let path = `/api/v1/organisations/${encodeURIComponent(shown.id)}/statement.csv?limit=200`;
  while (path) {
    const answer = await fetch(path, { headers: { Authorization: `Bearer ${session.token}` }, cache: "no-store" }).catch(() => null);
    if (!answer?.ok) throw new CallFailed(answer?.status ?? 0);
    parts.push(await answer.text());
    path = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get("Link") ?? "")?.[1];
  }
  const address = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  element("a", { href: address, download: `statement-${shown.id}.csv` }).click();
  URL.revokeObjectURL(address);
}

byId("more").addEventListener("click", () => session.attempt(showLines));
byId("morepayouts").addEventListener("click", () => session.attempt(() => showPayouts(PAGE)));
byId("csv").addEventListener("click", () => session.attempt(saveCsv));
session.begin();
