/**
 * The live socket of one event: the protocol (protocol.js decides) around a WebSocket (this carries out).
 * Keeps the holder's token per origin, so that a reload finds its seats again.
 */

import { Protocol } from "./protocol.js";

export { Protocol, BOUNDS } from "./protocol.js";

const TOKEN_KEY = "lml.holder-token";

/** @returns {string|null} */
export function readToken() {
  try {
    return localStorage.getItem(TOKEN_KEY);
  } catch {
    return null; // storage is forbidden: the holder lasts as long as the page
  }
}

/** @param {string|null} token null forgets it */
export function writeToken(token) {
  try {
    if (token === null) localStorage.removeItem(TOKEN_KEY);
    else localStorage.setItem(TOKEN_KEY, token);
  } catch {
    // The page works on without.
  }
}

/** @param {string} event @returns {string} the address of an event's live socket on this origin */
export function liveAddress(event) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/api/v1/events/${encodeURIComponent(event)}/live`;
}

export class Live {
  /**
   * @param {string} event
   * @param {(notice: object) => void} onNotice called for every notice of the protocol
   */
  constructor(event, onNotice) {
    this.address = liveAddress(event);
    this.onNotice = onNotice;
    this.protocol = new Protocol({ token: readToken() });
    this._socket = null;
    this._timer = null;
    this._waiting = new Map(); // request id → resolve
    this._wake = () => this.protocol.connection === "waiting" && this._run(this.protocol.reconnectNow(Date.now()));
    this._look = () => document.visibilityState === "visible" && this._run(this.protocol.tick(Date.now()));
    addEventListener("online", this._wake);
    document.addEventListener("visibilitychange", this._look);
  }

  start() {
    this._run(this.protocol.start(Date.now()));
  }

  stop() {
    removeEventListener("online", this._wake);
    document.removeEventListener("visibilitychange", this._look);
    this._run(this.protocol.stop());
    clearTimeout(this._timer);
  }

  reconnectNow() {
    this._run(this.protocol.reconnectNow(Date.now()));
  }

  /** The server's time now, in milliseconds since 1970. */
  now() {
    return this.protocol.serverTime(Date.now());
  }

  /**
   * Sends a request; settles with its answer, `error` messages included, and never rejects.
   * @param {object} fields
   * @param {string} [layout] the hash of the layout that its seats were chosen on, where that may have changed since
   * @returns {Promise<object>}
   */
  request(fields, layout) {
    const { id, effects } = this.protocol.request(fields, Date.now(), layout);
    if (id === null) {
      return Promise.resolve({ type: "error", code: "rate_limited", message: "Too many requests are under way." });
    }
    return new Promise((resolve) => {
      this._waiting.set(id, resolve);
      this._run(effects);
    });
  }

  _run(effects) {
    for (const effect of effects) this._carryOut(effect);
    clearTimeout(this._timer);
    const wakeAt = this.protocol.wakeAt;
    if (wakeAt !== null) {
      this._timer = setTimeout(() => this._run(this.protocol.tick(Date.now())), Math.max(0, wakeAt - Date.now()));
    }
  }

  _carryOut(effect) {
    switch (effect.do) {
      case "connect":
        return this._connect();
      case "send":
        if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(effect.message));
        return undefined;
      case "disconnect": {
        const socket = this._socket;
        this._socket = null; // its late events mean nothing any more
        return socket?.close(effect.code);
      }
      case "token":
        return writeToken(effect.token);
      default:
        if (effect.notice.type === "answer") {
          this._waiting.get(effect.notice.id)?.(effect.notice.message);
          this._waiting.delete(effect.notice.id);
        }
        return this.onNotice(effect.notice);
    }
  }

  _connect() {
    this._socket?.close(1000);
    const socket = new WebSocket(this.address, "lml.v1.json");
    this._socket = socket;
    const current = (act) => (happening) => {
      if (this._socket === socket) act(happening);
    };
    socket.addEventListener("open", current(() => this._run(this.protocol.opened(Date.now()))));
    socket.addEventListener("close", current(({ code }) => this._run(this.protocol.closed(code, Date.now()))));
    socket.addEventListener("message", current(({ data }) => {
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        this._socket = null;
        socket.close(4000);
        this._run(this.protocol.closed(4000, Date.now()));
        return;
      }
      this._run(this.protocol.received(message, Date.now()));
    }));
  }
}
