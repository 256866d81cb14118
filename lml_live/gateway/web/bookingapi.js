/**
 * Bookings over REST: make one of a hold, read, list, give up; and follow one until it has ended.
 * Whoever calls says with which secret: the holder's token, or the booking's own `access`.
 */

/** Every wait of the checkout in one place. */
export const WAITS = Object.freeze({
  /** The first look again; each next one waits half as long again, up to the longest. */
  poll_first_ms: 400,
  poll_max_ms: 5_000,
  /** A booking that has ended changes only by a refund. */
  poll_ended_ms: 30_000,
  /** A refused connection or a busy server: as for looks, but tried only so often before the visitor is asked. */
  retries_max: 5,
  /** Who is to wait for longer is told so, and asks again when they like. */
  retry_wait_max_ms: 4_000,
  request_ms: 20_000,
});

/** States in which something is still to come by itself. */
const MOVING = new Set(["pending_payment", "authorized", "cancelling", "expiring"]);

/** A refusal or failure of a call; `status` 0 means that no answer came. */
export class CallFailed extends Error {
  /** @param {number} status @param {object} problem the problem's fields, where there were any */
  constructor(status, problem = {}) {
    super(`${status} ${problem.code ?? ""}`.trim());
    this.status = status;
    this.code = problem.code ?? (status === 0 ? "unreachable" : "");
    this.problem = problem;
  }

  /** Whether the same request, with the same key, may be sent again. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500 || this.code === "idempotency_in_progress";
  }
}

/**
 * One call. @throws {CallFailed}
 * @param {string} method
 * @param {string} path below `/api/v1`
 * @param {{token: string|null, key?: string, body?: object|string, match?: string, wait_ms?: number}} options `match` is
 *   the hash of what is changed; a body that is a text is JSON already
 */
export async function call(method, path, { token, key, body, match, wait_ms = WAITS.request_ms }) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (key) headers["Idempotency-Key"] = key;
  if (match) headers["If-Match"] = `"${match}"`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: typeof body === "string" ? body : body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(wait_ms),
    });
  } catch {
    throw new CallFailed(0);
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new CallFailed(response.status, answer ?? {});
  if (answer === null && response.status !== 202 && response.status !== 204) throw new CallFailed(0);
  return answer;
}

/**
 * Makes a booking. What is passing is tried again with the same key, so that nothing is bought twice.
 * @param {object} body of `POST /bookings`
 * @param {{token: string, key: string, wait?: (ms: number) => Promise<void>}} options
 */
export async function createBooking(body, { token, key, wait = pause }) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await call("POST", "/bookings", { token, key, body });
    } catch (error) {
      if (!(error instanceof CallFailed) || !error.passing || tried >= WAITS.retries_max || saysNotSetUp(error)) throw error;
      const asked = error.problem.retry_after_ms ?? 0;
      if (asked > WAITS.retry_wait_max_ms) throw error;
      await wait(Math.max(asked, backoff(tried)));
    }
  }
}

/** Whether a refusal means that this server sells nothing. */
export function saysNotSetUp(error) {
  return error.code === "unavailable" && /not set up/i.test(error.problem?.detail ?? "");
}

export function readBooking(id, token) {
  return call("GET", `/bookings/${encodeURIComponent(id)}`, { token });
}

/** The tickets of a booking with their codes drawn; those of what was given back are not among them. */
export async function listTickets(id, token) {
  return (await call("GET", `/bookings/${encodeURIComponent(id)}/tickets?draw=qr`, { token })).items;
}

export function cancelBooking(id, token) {
  return call("POST", `/bookings/${encodeURIComponent(id)}/cancel`, { token });
}

/** @returns {Promise<{items: object[], next: string|null}>} the caller's own, the newest first */
export function listBookings(token, { cursor = null, limit = 50 } = {}) {
  const query = new URLSearchParams({ limit: String(limit), ...(cursor ? { cursor } : {}) });
  return call("GET", `/bookings?${query}`, { token });
}

/** How long to wait after the n-th look, n from 1. */
export function backoff(tried) {
  return Math.min(WAITS.poll_max_ms, WAITS.poll_first_ms * 1.5 ** (tried - 1));
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Reads one booking again and again: soon at first, then less often; at once when `look` is called. */
export class Follower {
  /**
   * @param {string} id
   * @param {string} token
   * @param {{seen: (booking: object) => void, failed: (error: CallFailed) => void}} listeners
   */
  constructor(id, token, listeners) {
    this.id = id;
    this.token = token;
    this.listeners = listeners;
    this.stopped = false;
    this._tried = 0;
    this._timer = null;
    this._reading = false;
    this._again = false;
    this._seen = () => document.visibilityState === "visible" && this.look();
    document.addEventListener("visibilitychange", this._seen);
  }

  /** Looks now, and soon again: something has happened. */
  look() {
    this._tried = 0;
    if (this._reading) this._again = true;
    else this._read();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this._timer);
    document.removeEventListener("visibilitychange", this._seen);
  }

  async _read() {
    clearTimeout(this._timer);
    if (this.stopped) return;
    this._reading = true;
    let delay;
    try {
      const booking = await readBooking(this.id, this.token);
      if (this.stopped) return;
      // Who waits for the payment to be made ready is told how soon there can be anything new.
      delay = MOVING.has(booking.state) ? (booking.payment.queue?.refresh_seconds ?? 0) * 1000 : WAITS.poll_ended_ms;
      this.listeners.seen(booking);
    } catch (error) {
      if (this.stopped) return;
      if (!(error instanceof CallFailed)) throw error;
      delay = error.passing ? 0 : WAITS.poll_ended_ms;
      this.listeners.failed(error);
    } finally {
      this._reading = false;
    }
    if (this._again) {
      this._again = false;
      delay = 1;
    }
    this._tried += 1;
    if (!this.stopped) this._timer = setTimeout(() => this._read(), delay || backoff(this._tried));
  }
}

const ACCESS = "lml.access.";

/**
 * A booking's secret while the buyer is away at the bank: kept for this tab only, so that it is in no address that
 * another server sees.
 */
export function keepAccess(id, access) {
  try {
    sessionStorage.setItem(ACCESS + id, access);
  } catch {
    // Storage is forbidden: the holder's token serves in this browser.
  }
}

/** @returns {string|null} */
export function keptAccess(id) {
  try {
    return sessionStorage.getItem(ACCESS + id);
  } catch {
    return null;
  }
}

/** The address of a booking's page with its secret, after `#`: browsers send that part to nobody. */
export function bookingAddress(booking) {
  return `/bookings/${encodeURIComponent(booking.id)}#${booking.access}`;
}
