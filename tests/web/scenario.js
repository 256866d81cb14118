/** Plays a list of inputs on the protocol and reports what it did: for test_protocol.py. */

import { Protocol } from "/web/live.js";

/**
 * @param {Array<Array>} steps [method, …arguments], or ["request", fields, now]
 * @param {object} options of the protocol
 */
export function play(steps, options = {}) {
  let keys = 0;
  const protocol = new Protocol({ random: () => 0.5, makeKey: () => `key${(keys += 1)}`, ...options });
  const effects = [];
  for (const [method, ...values] of steps) {
    const result = protocol[method](...values);
    effects.push(...(Array.isArray(result) ? result : result.effects));
  }
  const notices = effects.filter((effect) => effect.do === "notice").map((effect) => effect.notice);
  return {
    did: effects.filter((effect) => effect.do !== "notice" && effect.do !== "send").map((effect) => effect.do),
    tokens: effects.filter((effect) => effect.do === "token").map((effect) => effect.token),
    sent: effects.filter((effect) => effect.do === "send").map((effect) => effect.message),
    notices: notices.map((notice) => notice.type),
    answers: notices.filter((notice) => notice.type === "answer").map((notice) => notice.message),
    changed: notices.filter((notice) => notice.type === "seats").map((notice) => notice.changed),
    connection: protocol.connection,
    epoch: protocol.epoch,
    seq: protocol.seq,
    seats: protocol.seats ? [...protocol.seats] : null,
    areas: protocol.areas,
    holds: [...protocol.holds.values()],
    token: protocol.token,
    reconnectAt: protocol.reconnectAt,
    wakeAt: protocol.wakeAt,
    clockOffset: protocol.clockOffset,
    gaps: protocol.gaps,
  };
}
