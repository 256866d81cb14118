/** A booking's tickets, one a place, to show at the door or to print. */

import { explainTicket } from "./checkoutwords.js";
import { element } from "./dom.js";
import { dateTime } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
/** Around a QR code, in modules: scanners need it. */
const QUIET = 4;

/**
 * @param {object} booking
 * @param {object[]} tickets those that there are: of a line without one the money went back
 * @param {{event: object|null, place: (line: object) => string}} about
 * @returns {HTMLElement[]} by line
 */
export function ticketCards(booking, tickets, { event, place }) {
  const byLine = new Map(tickets.map((ticket) => [ticket.line, ticket]));
  return booking.lines.map((line) => {
    const ticket = byLine.get(line.line);
    const { chip, tone, text } = explainTicket(ticket);
    const where = place(line);
    return element(
      "li",
      { class: "one-ticket", data: { state: ticket?.state ?? "void" } },
      element(
        "div",
        { class: "of-what" },
        element("p", { class: "of-event" }, event?.name ?? "…"),
        element("p", { class: "muted" }, event ? [dateTime(event.starts_at), event.venue].filter(Boolean).join(" · ") : ""),
        element("h3", {}, where),
        element("p", { class: "muted kind" }, typeName(event, line.type)),
        element("p", { class: "says" }, element("span", { class: "chip", data: { tone } }, chip), text),
      ),
      ticket && element("div", { class: "code" }, ticket.qr && drawing(ticket.qr, `QR code of the ticket for ${where}`), element("code", {}, ticket.ticket)),
    );
  });
}

/** What a type is called: "Standard" for `adult`, where the event's prices say so. */
function typeName(event, type) {
  return event?.prices.find((price) => price.type === type)?.label ?? type;
}

function drawing({ size, path }, name) {
  const whole = size + 2 * QUIET;
  const svg = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of Object.entries({ viewBox: `${-QUIET} ${-QUIET} ${whole} ${whole}`, role: "img", "aria-label": name, "shape-rendering": "crispEdges" })) svg.setAttribute(attribute, value);
  const dark = document.createElementNS(SVG, "path");
  dark.setAttribute("d", path);
  svg.append(dark);
  return svg;
}
