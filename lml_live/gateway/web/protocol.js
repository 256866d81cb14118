/**
 * The live socket's protocol without a socket, a clock or a DOM: every input returns the effects to carry out.
 *
 * Inputs: `start`, `opened`, `received`, `closed`, `tick`, `request`, `reconnectNow`, `stop`; each takes `now`, the
 * local time in milliseconds. Effects, in order:
 *   {do: "connect"}                       open a new socket (any older one is abandoned)
 *   {do: "send", message}                 one frame on the open socket
 *   {do: "disconnect", code}              close the socket; nothing more is read from it
 *   {do: "token", token}                  keep this token for the next visit; null forgets it
 *   {do: "notice", notice: {type, …}}     tell the page
 * Notices: `connection`, `snapshot`, `seats`, `areas`, `holds`, `hold_changed`, `holds_lost`, `event`, `answer`,
 * `layout`, `token_lost`, `fault`.
 *
 * The rules are those of the contract, section 3, "How a client stays right". A request that names seats by index is of
 * the layout under which it was made: under another one it is given up, not sent (docs/decisions/039).
 */

import { randomKey } from "./keys.js";
import { applyLists, unpackSeats } from "./seats.js";

/** Every bound and wait of the client in one place, in milliseconds where the name says so. */
export const BOUNDS = Object.freeze({
  ping_ms: 25_000,
  // The server sends something at least every 25 s; two of those lost and the peer is gone.
  silence_ms: 51_000,
  hello_ms: 12_000,
  connect_ms: 15_000,
  backoff_first_ms: 500,
  backoff_max_ms: 30_000,
  // After a close for bad manners (1008) a client that comes straight back makes it worse.
  backoff_policy_ms: 10_000,
  retry_first_ms: 300,
  retry_max_ms: 5_000,
  request_ms: 30_000,
  requests_max: 8,
});

const ANSWERS = new Set(["held", "extended", "released"]);

/** Whether a request means something else under another layout: its seats, or what it lets the server choose. */
const namesSeats = (message) => message.type === "hold_best" || (message.seats?.length ?? 0) > 0;

export class Protocol {
  /**
   * @param {{token?: string|null, random?: () => number, makeKey?: () => string}} options
   */
  constructor({ token = null, random = Math.random, makeKey = randomKey } = {}) {
    this.token = token;
    this.random = random;
    this.makeKey = makeKey;
    /** `idle`, `connecting`, `syncing`, `live` or `waiting` (for the next try). */
    this.connection = "idle";
    this.epoch = null;
    this.seq = -1;
    /** @type {Uint8Array|null} */
    this.seats = null;
    this.areas = {};
    /** The holder's holds by id, as last told. @type {Map<string, object>} */
    this.holds = new Map();
    this.event = null;
    this.limits = null;
    this.layout = null;
    this.holder = null;
    /** Server time less local time. */
    this.clockOffset = 0;
    this.attempts = 0;
    this.reconnectAt = null;
    this.resumes = 0;
    this.gaps = 0;
    this._known = new Map(); // hold id → {seq, hello}: the newest word on each hold, gone ones too, in this epoch
    this._helloPending = false;
    this._helloCount = 0;
    this._helloDeadline = null;
    this._helloAgainAt = null;
    this._connectDeadline = null;
    this._heardAt = null;
    this._pingAt = null;
    this._pings = new Map();
    this._pending = new Map(); // id → {message, layout, sentAt, epoch, deadline, retryAt, retries}
    this._nextId = 1;
    this._out = [];
  }

  /** The server's time for a local time. */
  serverTime(now) {
    return now + this.clockOffset;
  }

  /** When `tick` wants to be called next (local time), or null. */
  get wakeAt() {
    const times = [this.reconnectAt, this._helloDeadline, this._helloAgainAt, this._connectDeadline];
    if (this.connection === "live") times.push(this._heardAt + BOUNDS.silence_ms, this._pingAt);
    for (const entry of this._pending.values()) times.push(entry.deadline, entry.retryAt);
    const set = times.filter((time) => time !== null && time !== undefined);
    return set.length ? Math.min(...set) : null;
  }

  start(now) {
    return this._do(() => this._connect(now));
  }

  stop() {
    return this._do(() => {
      this._reset("idle");
      this._emit({ do: "disconnect", code: 1000 });
    });
  }

  /** The network came back, or the user asked: skip what is left of the wait. */
  reconnectNow(now) {
    return this._do(() => {
      if (this.connection === "waiting") this._connect(now);
    });
  }

  opened(now) {
    return this._do(() => {
      this._connectDeadline = null;
      this._heardAt = now;
      this._setConnection("syncing");
      this._hello(now);
    });
  }

  closed(code, now) {
    return this._do(() => {
      if (this.connection === "idle" || this.connection === "waiting") return;
      if (code === 4401) this._forgetToken();
      this._wait(now, code === 1008 ? BOUNDS.backoff_policy_ms : 0);
    });
  }

  /**
   * Sends a request, or keeps it until the socket is in step again. A `hold` gets its `key` here.
   * @param {object} fields the message without `id`
   * @param {string|null} layout the hash of the layout that its seats were read by; null: of the first that is known
   * @returns {{id: number|null, effects: object[]}} id null: too many are unanswered
   */
  request(fields, now, layout = this.layout?.hash ?? null) {
    if (this._pending.size >= BOUNDS.requests_max) return { id: null, effects: [] };
    const id = this._nextId++;
    const message = { ...fields, id };
    if ((fields.type === "hold" || fields.type === "hold_best") && !fields.key) message.key = this.makeKey();
    const entry = { message, layout, sentAt: null, epoch: this.epoch, deadline: now + BOUNDS.request_ms, retryAt: null, retries: 0 };
    this._pending.set(id, entry);
    const effects = this._do(() => {
      if (this.connection === "live" && !this._isOver(id, entry)) this._transmit(entry, now);
    });
    return { id, effects };
  }

  tick(now) {
    return this._do(() => {
      const overdue = (time) => time !== null && now >= time;
      if (overdue(this.reconnectAt)) {
        this._connect(now);
        return;
      }
      const silent = this.connection === "live" && now >= this._heardAt + BOUNDS.silence_ms;
      if (silent || overdue(this._helloDeadline) || overdue(this._connectDeadline)) {
        this._emit({ do: "disconnect", code: 4000 });
        this._wait(now, 0);
        return;
      }
      if (overdue(this._helloAgainAt)) this._hello(now);
      if (this.connection === "live" && overdue(this._pingAt)) {
        const id = this._nextId++;
        this._pings.clear();
        this._pings.set(id, now);
        this._pingAt = now + BOUNDS.ping_ms;
        this._emit({ do: "send", message: { type: "ping", id } });
      }
      for (const [id, entry] of [...this._pending]) {
        if (now >= entry.deadline) {
          this._answer(id, { type: "error", id, code: "unanswered", message: "No answer came in time." });
        } else if (overdue(entry.retryAt) && this.connection === "live") {
          this._transmit(entry, now);
        } else if (overdue(entry.retryAt)) {
          entry.retryAt = null; // sent again when the socket is in step
        }
      }
    });
  }

  received(message, now) {
    return this._do(() => {
      if (this.connection !== "syncing" && this.connection !== "live") return;
      this._heardAt = now;
      switch (message?.type) {
        case "welcome":
          return this._welcome(message, now);
        case "resumed":
          return this._resumed(message, now);
        case "diff":
          return this._diff(message, now);
        case "held":
        case "extended":
        case "released":
          return this._answered(message, now);
        case "hold_changed":
          return this._holdChanged(message);
        case "event":
          return this._eventChanged(message);
        case "pong":
          return this._pong(message, now);
        case "error":
          return this._error(message, now);
        case "bye":
          return this._bye(message, now);
        default: // unknown messages are for newer clients
      }
    });
  }

  // ---- what the server says

  _welcome(message, now) {
    let seats;
    try {
      seats = unpackSeats(message.seats, message.layout.seat_count);
    } catch (error) {
      this._notice({ type: "fault", code: "invalid_message", message: String(error.message ?? error) });
      this.epoch = null;
      this._emit({ do: "disconnect", code: 4000 });
      this._wait(now, 0);
      return;
    }
    const asked = this._helloPending;
    const newEpoch = this.epoch !== null && this.epoch !== message.epoch;
    this.seats = seats;
    this._adopt(message, now, asked, newEpoch);
    this._notice({ type: "snapshot", full: true, newEpoch });
    this._afterSync(now);
  }

  _resumed(message, now) {
    if (message.epoch !== this.epoch || this.seats === null || message.layout?.hash !== this.layout?.hash) {
      // Cannot be applied to what is here: ask for everything.
      this.epoch = null;
      this._helloPending = false;
      this._hello(now);
      return;
    }
    this.resumes += 1;
    const changed = applyLists(this.seats, message);
    this._adopt(message, now, this._helloPending, false);
    this._notice({ type: "snapshot", full: false, changed, newEpoch: false });
    this._afterSync(now);
  }

  /** What `welcome` and `resumed` have in common. */
  _adopt(message, now, asked, newEpoch) {
    const before = this.holds;
    this.epoch = message.epoch;
    this.seq = message.seq;
    this.event = message.event;
    this.limits = message.limits;
    this.layout = message.layout;
    this.areas = { ...message.areas };
    this.holder = message.holder;
    this.clockOffset = message.now_ms - now;
    if (message.token) this._keepToken(message.token);
    // The list replaces all that is known, save what the server said about a hold after this hello was sent and after
    // the list was cut: an answer to a request that was under way at the same time.
    const listed = new Map(message.holds.map((hold) => [hold.id, hold]));
    const known = new Map();
    if (asked && !newEpoch) {
      for (const [id, word] of this._known) {
        if (word.hello !== this._helloCount || word.seq <= message.seq) continue;
        known.set(id, word);
        if (before.has(id)) listed.set(id, before.get(id));
        else listed.delete(id);
      }
    }
    this._known = known;
    this.holds = listed;
    const lost = [...before.keys()].filter((id) => !listed.has(id));
    if (lost.length) this._notice({ type: "holds_lost", holds: lost.map((id) => before.get(id)), newEpoch });
  }

  _afterSync(now) {
    this._helloPending = false;
    this._helloDeadline = null;
    this._helloAgainAt = null;
    this.attempts = 0;
    if (this.connection !== "live") this._pingAt = now + BOUNDS.ping_ms;
    this._setConnection("live");
    for (const [id, entry] of [...this._pending]) {
      entry.layout ??= this.layout.hash;
      if (this._isOver(id, entry)) continue;
      if (entry.sentAt === null) this._transmit(entry, now);
      else if (entry.lost) this._settleLost(id, entry, now);
    }
  }

  /** Gives up a request whose seats are those of another layout than the event's. Returns whether it was one. */
  _isOver(id, entry) {
    if (entry.layout === this.layout.hash || !namesSeats(entry.message)) return false;
    const message = "The event has another layout: look again and choose anew.";
    this._answer(id, { type: "error", id, code: "unavailable", reason: "layout", message });
    return true;
  }

  /** A request whose answer was lost with its socket. */
  _settleLost(id, entry, now) {
    entry.lost = false;
    const { message } = entry;
    const owned = new Set([...this.holds.values()].flatMap((hold) => hold.seats ?? []));
    if (message.type === "release") {
      const hold = this.holds.get(message.hold);
      const left = hold && (message.seats ? message.seats.some((seat) => hold.seats.includes(seat)) : true);
      if (left && !message.areas) this._transmit(entry, now); // releasing seats twice is harmless, places is not
      else this._answer(id, { type: "released", id, epoch: this.epoch, seq: this.seq, hold });
    } else if (message.key && entry.epoch === this.epoch) {
      this._transmit(entry, now); // the same key: the server answers with the hold that it made, if it did
    } else if (message.seats?.length && message.seats.every((seat) => owned.has(seat.seat ?? seat))) {
      this._answer(id, { type: "held", id, epoch: this.epoch, seq: this.seq });
    } else if (message.key && !message.areas && message.type === "hold") {
      entry.message = { ...message, key: this.makeKey() }; // another epoch, and it does not list these seats: ask anew
      this._transmit(entry, now);
    } else {
      this._answer(id, { type: "error", id, code: "interrupted", message: "The connection broke before the answer came." });
    }
  }

  _diff(message, now) {
    if (this.connection !== "live") return; // before this socket's welcome nothing says which epoch it means
    if (message.seq <= this.seq) return;
    const foreign = message.epoch !== undefined && message.epoch !== this.epoch;
    if (message.prev > this.seq || foreign) {
      this.gaps += 1;
      this._hello(now);
      return;
    }
    this.seq = message.seq;
    const changed = applyLists(this.seats, message);
    if (message.areas) {
      this.areas = { ...this.areas, ...message.areas };
      this._notice({ type: "areas" });
    }
    if (changed.length) this._notice({ type: "seats", changed });
  }

  _answered(message, now) {
    const entry = this._pending.get(message.id);
    if (message.now_ms !== undefined) this._sampleClock(message.now_ms, now);
    if (message.epoch === this.epoch) {
      const id = message.hold?.id ?? entry?.message.hold;
      if (id) this._word(id, message.hold ?? null, message.seq);
      const replaced = entry?.message.replace;
      if (message.type === "held" && replaced && replaced !== id) this._word(replaced, null, message.seq);
      this._notice({ type: "holds" });
    }
    if (entry) this._answer(message.id, message);
  }

  _holdChanged(message) {
    if (message.epoch !== this.epoch) return;
    const before = this.holds.get(message.hold);
    const over = message.state === "gone" || message.state === "sold";
    const value = over || !message.value ? null : { ...message.value, state: message.state };
    if (!this._word(message.hold, value, message.seq)) return;
    this._notice({ type: "holds" });
    this._notice({ type: "hold_changed", message, before });
  }

  /** Takes the word of a message on a hold unless a newer one is known. Returns whether it was taken. */
  _word(id, hold, seq) {
    const known = this._known.get(id);
    if (known && known.seq > seq) return false;
    this._known.set(id, { seq, hello: this._helloCount });
    if (hold) this.holds.set(id, hold);
    else this.holds.delete(id);
    return true;
  }

  _eventChanged(message) {
    const { state, on_sale_at_ms, prices_version, limits } = message;
    const before = this.event;
    this.event = { ...before, state, on_sale_at_ms, prices_version };
    if (limits) this.limits = limits;
    this._notice({ type: "event", before, pricesChanged: before?.prices_version !== prices_version });
  }

  _pong(message, now) {
    const sentAt = this._pings.get(message.id);
    this._pings.delete(message.id);
    if (sentAt !== undefined) this.clockOffset = message.now_ms - (sentAt + now) / 2;
    if (message.token) this._keepToken(message.token);
  }

  _error(message, now) {
    const entry = this._pending.get(message.id);
    if (message.code === "unauthorized") {
      this._forgetToken();
      if (entry) this._answer(message.id, message);
      this._emit({ do: "disconnect", code: 1000 });
      this._wait(now, 0);
      return;
    }
    if (entry) {
      const again = message.code === "unavailable" && entry.message.key;
      if (!again) return this._answer(message.id, message);
      // Nothing was changed, or the outcome is unknown: the same key finds out which.
      const wait = message.retry_after_ms ?? Math.min(BOUNDS.retry_max_ms, BOUNDS.retry_first_ms * 2 ** entry.retries);
      entry.retries += 1;
      entry.retryAt = now + wait * (0.5 + this.random() / 2);
      return;
    }
    if (message.id === undefined && this._helloPending && (message.code === "unavailable" || message.code === "rate_limited")) {
      this._helloPending = false;
      this._helloDeadline = null;
      this._helloAgainAt = now + Math.max(message.retry_after_ms ?? 0, 500 + this.random() * 1_500);
    }
    this._notice({ type: "fault", code: message.code, message: message.message, retry_after_ms: message.retry_after_ms });
  }

  _bye(message, now) {
    this._emit({ do: "disconnect", code: 1000 });
    if (message.reason === "layout") {
      this.epoch = null;
      this._notice({ type: "layout" });
    }
    this._reset("waiting");
    this.reconnectAt = now + this.random() * (message.retry_after_ms ?? 0);
    this._notice({ type: "connection", state: "waiting", reason: message.reason });
  }

  // ---- what the client does

  _connect(now) {
    this._reset("connecting");
    this._connectDeadline = now + BOUNDS.connect_ms;
    this._emit({ do: "connect" });
    this._notice({ type: "connection", state: "connecting" });
  }

  _hello(now) {
    if (this._helloPending) return; // at most one unanswered
    this._helloPending = true;
    this._helloCount += 1;
    this._helloAgainAt = null;
    this._helloDeadline = now + BOUNDS.hello_ms;
    const message = { type: "hello" };
    if (this.token) message.token = this.token;
    if (this.epoch !== null && this.seats !== null) message.resume = { epoch: this.epoch, seq: this.seq };
    this._emit({ do: "send", message });
  }

  _transmit(entry, now) {
    entry.sentAt = now;
    entry.retryAt = null;
    entry.epoch = this.epoch;
    this._emit({ do: "send", message: entry.message });
  }

  /** Waits for the next try: full jitter, so that a crowd that fell off together does not come back together. */
  _wait(now, least) {
    const most = Math.min(BOUNDS.backoff_max_ms, BOUNDS.backoff_first_ms * 2 ** this.attempts);
    this.attempts += 1;
    this._reset("waiting");
    this.reconnectAt = now + least + this.random() * most;
    this._notice({ type: "connection", state: "waiting" });
  }

  /** Forgets the socket, not what was learnt over it. */
  _reset(connection) {
    this.connection = connection;
    this.reconnectAt = null;
    this._helloPending = false;
    this._helloDeadline = null;
    this._helloAgainAt = null;
    this._connectDeadline = null;
    this._pings.clear();
    for (const entry of this._pending.values()) if (entry.sentAt !== null) entry.lost = true;
  }

  _setConnection(state) {
    if (this.connection === state) return;
    this.connection = state;
    this._notice({ type: "connection", state });
  }

  _answer(id, message) {
    const entry = this._pending.get(id);
    this._pending.delete(id);
    this._notice({ type: "answer", id, request: entry.message, message, ok: ANSWERS.has(message.type) });
  }

  _keepToken(token) {
    if (token === this.token) return;
    this.token = token;
    this._emit({ do: "token", token });
  }

  _forgetToken() {
    if (this.token === null) return;
    this.token = null;
    this._emit({ do: "token", token: null });
    this._notice({ type: "token_lost" });
  }

  /** A message's way takes time, so of several samples the largest offset is nearest to the truth. */
  _sampleClock(serverNow, now) {
    this.clockOffset = Math.max(this.clockOffset, serverNow - now);
  }

  _do(act) {
    this._out = [];
    act();
    return this._out;
  }

  _emit(effect) {
    this._out.push(effect);
  }

  _notice(notice) {
    this._out.push({ do: "notice", notice });
  }
}
