/** What the page says: money, times, and the server's codes in plain words. Pure. */

const LANGUAGE = globalThis.navigator?.language || "en";

/** Decimals of ISO 4217 where they are not two: the server's amounts are such units. Intl's own go by custom (RSD: 0). */
const NO_DECIMALS = new Set("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(" "));
const THREE_DECIMALS = new Set("BHD IQD JOD KWD LYD OMR TND".split(" "));

/** Money in minor units as people write it; currencies differ in how many minor units there are. */
export function money(amountMinor, currency) {
  const digits = NO_DECIMALS.has(currency) ? 0 : THREE_DECIMALS.has(currency) ? 3 : 2;
  try {
    const format = new Intl.NumberFormat(LANGUAGE, { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
    return format.format(amountMinor / 10 ** digits);
  } catch {
    return `${amountMinor} ${currency}`; // not a currency that this browser knows
  }
}

/** A range of money: "€20.00 – €90.00", or one amount. */
export function moneyRange(amountsMinor, currency) {
  if (!amountsMinor.length) return "";
  const [least, most] = [Math.min(...amountsMinor), Math.max(...amountsMinor)];
  return least === most ? money(least, currency) : `${money(least, currency)} – ${money(most, currency)}`;
}

/** "Fri, 27 November 2026, 19:30" in the reader's own time zone and language. */
export function dateTime(value) {
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(LANGUAGE, {
    weekday: "short", day: "numeric", month: "long", year: "numeric", hour: "numeric", minute: "2-digit",
  }).format(date);
}

/** "22 Nov, 16:15": where there is little room. */
export function shortDateTime(value) {
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" }).format(date);
}

export function timeOfDay(ms) {
  return new Intl.DateTimeFormat(LANGUAGE, { hour: "numeric", minute: "2-digit" }).format(new Date(ms));
}

/** A duration that is counted down: "4:05", "2:03:09", "3 days". */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds >= 48 * 3600) return `${Math.floor(seconds / 86400)} days`;
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString(LANGUAGE)} ${count === 1 ? one : many}`;
}

/** What a version of a seating plan is, by its state: words and tone. */
export const PLAN_STATES = Object.freeze({ draft: ["Draft", "info"], published: ["Published", "info"], deployed: ["Deployed", "good"], retired: ["Retired", ""] });

export const STATE_WORDS = Object.freeze(["available", "held by somebody else", "sold", "not for sale"]);

/**
 * How the sale and the connection stand: words and tone.
 * @param {{connection: string, event: object|null, attempts: number}} protocol
 * @param {number} now the server's time
 */
export function statusWords({ connection, event, attempts }, now) {
  if (connection !== "live") return event || attempts ? ["Reconnecting…", "warn"] : ["Connecting…", ""];
  if (event.state === "paused") return ["Paused", "warn"];
  if (event.state !== "open") return ["Closed", ""];
  return event.on_sale_at_ms > now ? ["Opens soon", "info"] : ["Live", "good"];
}

/** What everybody has to know, over the map; "" where there is nothing. */
export function bannerWords({ connection, event, attempts }, now) {
  if (connection !== "live" && attempts >= 3) return "No connection to the box office. Trying again…";
  if (!event) return "";
  const wait = event.on_sale_at_ms - now;
  if (event.state === "open") return wait > 0 ? `The sale opens in ${countdown(wait)}` : "";
  if (event.state === "paused") return "The sale is paused. Held seats stay yours until their time is up.";
  return event.state === "closed" ? "The sale is closed" : "This event is not on sale yet";
}

/** "Stalls, row 3, seat 14" */
export function seatName({ section, row, seat }) {
  return `${section}, row ${row}, seat ${seat}`;
}

/**
 * An `error` of the live socket in plain words.
 * @param {{code: string, message?: string, seats?: number[], areas?: object, retry_after_ms?: number}} error
 * @param {{seat: (index: number) => string, area: (id: string) => string, limits?: object, onSaleAtMs?: number, now?: number}} about
 */
export function explain(error, about) {
  const seats = (error.seats ?? []).map(about.seat);
  const wait = error.retry_after_ms ? ` Please try again in ${plural(Math.ceil(error.retry_after_ms / 1000), "second")}.` : "";
  switch (error.code) {
    case "seat_taken":
      if (!seats.length) return "Somebody else was faster. Please choose another seat.";
      return `Somebody else was faster: ${list(seats)} ${seats.length === 1 ? "is" : "are"} taken. Please choose another.`;
    case "area_full": {
      const [[id, left] = []] = Object.entries(error.areas ?? {});
      if (id === undefined) return "There are not that many places left.";
      return left ? `Only ${plural(left, "place")} left in ${about.area(id)}.` : `${about.area(id)} is full.`;
    }
    case "limit_exceeded":
      return about.limits ? `You can hold at most ${plural(about.limits.max_seats, "place")} for this event.` : "That is more than one person may hold.";
    case "orphan_seat":
      return `That would leave a single seat empty${seats.length ? ` (${list(seats)})` : ""}. Please choose seats without a gap.`;
    case "no_best_seats":
      return "There are no such seats left together. Please try fewer, or choose on the map.";
    case "sale_not_open":
      if (about.onSaleAtMs && about.now && about.onSaleAtMs > about.now) return `The sale opens in ${countdown(about.onSaleAtMs - about.now)}.`;
      return "The sale has not opened yet.";
    case "sale_paused":
      return "The sale is paused just now. Seats that you hold stay yours until their time is up.";
    case "sale_closed":
      return "The sale is closed.";
    case "hold_expired":
      return "The time for those seats was up, so they went back on sale.";
    case "hold_not_found":
      return "Those seats are not held for you any more.";
    case "hold_in_checkout":
      return "Those seats are being paid for and cannot be changed now.";
    case "cooling_down":
      return `You have just given this seat up or let it lapse.${wait || " Please wait a little before taking it again."}`;
    case "rate_limited":
      return `That was a little too fast.${wait || " Please wait a moment."}`;
    case "unauthorized":
      return "Your visit could not be continued, so you were given a fresh start. Please choose your seats again.";
    case "forbidden":
      return "That is not allowed here.";
    case "not_admitted":
      return "Please wait for your turn in the queue.";
    case "unavailable":
      if (error.reason === "layout") return "The seating plan has changed, so your choice was not taken over. Please look again and choose anew.";
    // falls through
    case "unanswered":
      return "The box office did not answer. Nothing may have changed; your seats are shown as soon as it does.";
    case "interrupted":
      return "The connection broke before the answer came. What you hold now is shown under “My seats”.";
    case "unknown_seat":
    case "unknown_area":
      return "The seating plan has changed. Please reload the page.";
    default:
      return `${error.message || "That did not work."}${wait}`;
  }
}

/**
 * What happened to a hold that this page did not ask for.
 * @returns {{text: string, tone: "info"|"warn"}|null} null where there is nothing to say
 */
export function explainHoldChange(message) {
  if (message.state === "active") return message.reason === "payment_failed" ? { text: "The payment did not go through. Your seats are still held.", tone: "warn" } : null;
  if (message.state === "checkout") return { text: "Your seats are being paid for.", tone: "info" };
  if (message.state === "sold") return { text: "Your seats are booked.", tone: "info" };
  switch (message.reason) {
    case "expired":
      return { text: "Time is up: the seats you held are back on sale. You can choose again.", tone: "warn" };
    case "lost":
      return { text: "We are sorry: a fault on our side lost your seats. Please choose again.", tone: "warn" };
    case "staff":
      return { text: "The box office has released your seats.", tone: "warn" };
    case "closed":
      return { text: "The sale was closed and held seats were released.", tone: "warn" };
    case "payment_failed":
      return { text: "The payment did not go through and the seats were released.", tone: "warn" };
    default:
      return null;
  }
}

function list(names) {
  if (names.length <= 1) return names[0] ?? "";
  const shown = names.slice(0, 3);
  const more = names.length - shown.length;
  return more ? `${shown.join("; ")} and ${more} more` : shown.join("; ");
}
