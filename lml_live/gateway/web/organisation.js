/**
 * An organisation, for its managers: whether Stripe can pay it, the way there, and what it sold, is due, was paid and owes.
 * The session lasts as long as the tab: this is a page for money, and machines are shared.
 */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { dateTime, money } from "./words.js";

const TOKEN_KEY = "lml.staff-token";
const PAGE = 20;
/** Where accounts can be opened, as far as this list goes; others by command or over REST. */
const COUNTRIES = { AT: "Austria", BE: "Belgium", CH: "Switzerland", CZ: "Czechia", DE: "Germany", DK: "Denmark", ES: "Spain", FI: "Finland", FR: "France", GB: "United Kingdom", GR: "Greece", IE: "Ireland", IT: "Italy", LU: "Luxembourg", NL: "Netherlands", NO: "Norway", PL: "Poland", PT: "Portugal", SE: "Sweden", US: "United States" };
const WAITS = { hold_back: "held back until then", account: "waits until Stripe can pay the account", decision: "waits for a refund's or a bank's decision" };
const state = byId("state");
let token = readToken();
let next = null;
let shown = null;

function readToken() {
  try {
    return sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return null; // storage is forbidden: the session lasts as long as the page
  }
}

function keepToken(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem(TOKEN_KEY, value);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // As above.
  }
}

function head(title, lead = "") {
  document.title = `${title} · LML Live`;
  setText(byId("title"), title);
  setText(byId("lead"), lead);
  fill(state);
}

function tell(title, text, action) {
  fill(state, element("div", { class: "message" }, element("h2", {}, title), element("p", { class: "muted" }, text), action));
}

function askToSignIn(why = "") {
  keepToken(null);
  head("Sign in as a manager");
  for (const id of ["choice", "account", "statement", "out"]) byId(id).hidden = true;
  byId("form").hidden = false;
  setText(byId("error"), why);
  byId("email").focus();
}

/** Does something that asks the server; whoever is signed in no longer is asked to sign in. */
async function attempt(act, again) {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    if (error.status === 401) askToSignIn("Please sign in again.");
    else if (error.status === 403) askToSignIn("This account may not see organisations.");
    else if (error.status === 404) tell("There is no such organisation", "Or it is none of yours.", element("a", { class: "button primary", href: "/organisation" }, "Yours"));
    else tell("That did not work", error.problem?.detail ?? "The server cannot be reached just now.", element("button", { class: "button primary", type: "button", onclick: () => attempt(again ?? act) }, "Try again"));
  }
}

async function signIn() {
  const [email, password] = [byId("email"), byId("password")];
  setText(byId("error"), "");
  for (const field of [email, password]) field.setAttribute("aria-invalid", String(!field.validity.valid));
  const missing = [email, password].find((field) => !field.validity.valid);
  if (missing) {
    setText(byId("error"), missing === email ? "Please type your e-mail address." : "Please type your password.");
    missing.focus();
    return;
  }
  byId("go").disabled = true;
  try {
    const session = await call("POST", "/sessions", { token: null, body: { email: email.value.trim(), password: password.value, as: "staff" } });
    password.value = "";
    keepToken(session.token);
    await start();
    byId("title").focus();
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    const words = { 401: "The e-mail address or the password is wrong.", 429: "Too many attempts: please wait some minutes." };
    setText(byId("error"), words[error.status] ?? "The server cannot be reached just now.");
  } finally {
    byId("go").disabled = false;
  }
}

async function signOut() {
  await call("DELETE", "/sessions", { token }).catch((error) => {
    if (!(error instanceof CallFailed)) throw error;
  });
  askToSignIn();
}

function start() {
  byId("form").hidden = true;
  byId("out").hidden = false;
  const named = new URLSearchParams(location.search).get("organisation");
  return attempt(named ? () => show(named) : choose);
}

async function choose() {
  const page = await call("GET", "/organisations?limit=200", { token });
  if (page.items.length === 1) {
    await show(page.items[0].id);
    return;
  }
  head("Your organisations");
  fill(byId("choice"), ...page.items.map((one) => element("li", {}, element("a", { class: "card", href: `/organisation?organisation=${encodeURIComponent(one.id)}` }, element("h2", {}, one.name), chip(one.account)))));
  byId("choice").hidden = !page.items.length;
  if (!page.items.length) tell("None yet", "An administrator makes an organisation, and names who may see it.");
}

function chip(account) {
  const [text, tone] = account?.ready ? ["Can be paid", "good"] : account?.details_submitted ? ["Stripe is checking", "info"] : [account?.id ? "Stripe has questions" : "No account yet", "warn"];
  return element("span", { class: "chip", data: { tone } }, text);
}

async function show(id) {
  shown = await call("GET", `/organisations/${encodeURIComponent(id)}`, { token });
  const fee = `${shown.fee_basis_points / 100} % and ${money(shown.fee_per_ticket, shown.currency)} a ticket`;
  head(shown.name, `Paid ${shown.hold_back_days} days after an event, less ${fee}.`);
  showAccount();
  next = null;
  fill(byId("lines"));
  byId("statement").hidden = false;
  await showLines();
}

function showAccount() {
  const account = shown.account?.id ? shown.account : null; // without one, where it is opened can still be said
  const says = account?.ready
    ? "What is due goes to your account at Stripe by itself."
    : account
      ? "Stripe wants to know more before it pays anybody. What is due waits until then, and is lost to nobody."
      : "Money is paid through Stripe, which asks who you are and for your bank account. We see neither.";
  const country = element("select", { id: "country" }, ...Object.entries(COUNTRIES).map(([code, name]) => element("option", { value: code, selected: code === (account?.country ?? "DE") }, name)));
  const go = element("button", { class: "button primary", type: "button", onclick: () => attempt(() => onboard(account?.country ?? country.value)) }, account ? "Go on at Stripe" : "Set up at Stripe");
  fill(
    byId("account"),
    element("h2", { id: "account-title" }, "Your account"),
    element("p", {}, chip(account)),
    element("p", { class: "muted" }, says),
    !account?.ready && element("div", { class: "onboarding" }, !account && element("label", {}, "Country", country), go),
    account?.looked_at && element("p", { class: "muted" }, `As of ${dateTime(account.looked_at)}.`),
  );
  byId("account").hidden = false;
}

async function onboard(country) {
  const link = await call("POST", `/organisations/${encodeURIComponent(shown.id)}/onboarding`, { token, body: { country } });
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
  const when = line.waits_for ? `Due ${dateTime(line.due_at)}: ${WAITS[line.waits_for]}.` : "";
  return element(
    "li",
    { class: "card" },
    element("h3", {}, line.name),
    element("span", { class: "where" }, `${dateTime(line.starts_at)} · ${line.bookings} paid bookings`),
    element("dl", { class: "sums" }, ...rows.flatMap(([name, amount, strong]) => [element("dt", { class: strong }, name), element("dd", { class: strong }, of(amount))])),
    when && element("p", { class: "muted" }, when),
  );
}

async function showLines() {
  const page = await call("GET", `/organisations/${encodeURIComponent(shown.id)}/statement?limit=${PAGE}${next ? `&cursor=${encodeURIComponent(next)}` : ""}`, { token });
  byId("lines").append(...page.items.map(card));
  next = page.next;
  byId("more").hidden = next === null;
  byId("csv").hidden = !byId("lines").childElementCount;
  if (!byId("lines").childElementCount) tell("No events yet", "An event is on your account once it is put at one of your venues.");
}

/** All pages, as one file: the call needs the session, so no plain link will do. */
async function saveCsv() {
  const parts = [];
  let path = `/api/v1/organisations/${encodeURIComponent(shown.id)}/statement.csv?limit=200`;
  while (path) {
    const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" }).catch(() => null);
    if (!answer?.ok) throw new CallFailed(answer?.status ?? 0);
    parts.push(await answer.text());
    path = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get("Link") ?? "")?.[1];
  }
  const address = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  element("a", { href: address, download: `statement-${shown.id}.csv` }).click();
  URL.revokeObjectURL(address);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn();
});
byId("out").addEventListener("click", signOut);
byId("more").addEventListener("click", () => attempt(showLines));
byId("csv").addEventListener("click", () => attempt(saveCsv));
if (token) start();
else askToSignIn();
