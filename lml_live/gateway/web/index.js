/** The index of events: pages of `GET /api/v1/events`, each with when, where, how much and whether it can be bought. */

import { byId, element, fetchJson, fill } from "./dom.js";
import { moneyRange, plural, shortDateTime } from "./words.js";

const PAGE = 50;
const state = byId("state");
const list = byId("list");
const more = byId("more");
let next = null;

/** How an event's sale stands, in words and in a tone. */
export function saleState(event, now = Date.now()) {
  const opens = Date.parse(event.on_sale_at);
  if (event.state === "closed") return ["Sale closed", ""];
  if (event.state === "draft") return ["Not on sale yet", ""];
  if (event.state === "paused") return ["Sale paused", "warn"];
  return opens > now ? [`On sale ${shortDateTime(opens)}`, "info"] : ["On sale", "good"];
}

function card(event) {
  const starts = new Date(event.starts_at);
  const known = !Number.isNaN(starts.getTime());
  const language = navigator.language || "en";
  const [words, tone] = saleState(event);
  const places = (event.layout?.seat_count ?? 0) + (event.areas ?? []).reduce((sum, area) => sum + area.capacity, 0);
  const price = moneyRange((event.prices ?? []).map((entry) => entry.amount + entry.fee), event.currency);
  const part = (options) => (known ? new Intl.DateTimeFormat(language, options).format(starts) : "");
  return element(
    "li",
    {},
    element(
      "a",
      { class: "card", href: `/events/${encodeURIComponent(event.id)}` },
      element("span", { class: "day", "aria-hidden": "true" }, element("b", {}, part({ day: "numeric" })), element("span", {}, part({ month: "short" }))),
      element("h2", {}, event.name),
      element("span", { class: "where" }, event.venue),
      element("span", { class: "where" }, part({ weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "numeric", minute: "2-digit" })),
      element(
        "span",
        { class: "foot" },
        element("span", {}, element("span", { class: "price" }, price), element("span", { class: "muted" }, `${price ? " · " : ""}${plural(places, "place")}`)),
        element("span", { class: "chip", data: { tone } }, words),
      ),
    ),
  );
}

function tell(title, text, action) {
  fill(state, element("div", { class: "message" }, element("h2", {}, title), element("p", { class: "muted" }, text), action));
}

async function load() {
  more.disabled = true;
  if (!list.childElementCount) {
    fill(state, element("div", { class: "message" }, element("div", { class: "spinner" }), element("p", { class: "muted" }, "Loading events…")));
  }
  const query = new URLSearchParams({ limit: String(PAGE), ...(next ? { cursor: next } : {}) });
  try {
    const page = await fetchJson(`/api/v1/events?${query}`);
    list.append(...page.items.map(card));
    next = page.next ?? null;
    fill(state);
    if (!list.childElementCount) {
      tell("No events yet", "As soon as an event is announced, it is listed here.", element("button", { class: "button", type: "button", onclick: load }, "Look again"));
    }
  } catch (error) {
    const text = error.status ? `The server answered with ${error.status}.` : "The server cannot be reached just now.";
    tell("Events could not be loaded", text, element("button", { class: "button primary", type: "button", onclick: load }, "Try again"));
  }
  list.hidden = !list.childElementCount;
  more.hidden = next === null;
  more.disabled = false;
}

more.addEventListener("click", load);
load();
