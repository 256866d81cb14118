/**
 * One booking: `/bookings/{booking}#{access}`. Who has the link sees it, from any device; without the secret the
 * holder's token of this browser serves. The secret goes to our server in a header, and into no address.
 */

import { bookingAddress, cancelBooking, CallFailed, Follower, listTickets } from "./bookingapi.js";
import { cancelQuestion } from "./checkoutsteps.js";
import { explainRefund, explainState, HAS_TICKETS } from "./checkoutwords.js";
import { byId, element, fetchJson, fill, idFrom, setText } from "./dom.js";
import { Layout } from "./layout.js";
import { linesOf } from "./lines.js";
import { readToken } from "./live.js";
import { ticketCards } from "./tickets.js";
import { countdown, dateTime, money, plural, seatName } from "./words.js";

/** What of the refunds shows: it changes while the booking's state stays. */
const refundsKey = (booking) => (booking.refunds ?? []).map((refund) => `${refund.id} ${refund.state} ${refund.accepted}`).join();

class BookingPage {
  constructor(id, access) {
    this.id = id;
    this.token = access || readToken();
    this.booking = null;
    this.event = null;
    this.layout = null;
    this.parts = null;
    this.tickets = null;
    this.cancelling = false;
    setInterval(() => this._tick(), 500);
  }

  start() {
    if (!this.token) {
      this._tell("This booking cannot be opened", "Please use the whole link of the booking, with all that stands after #.");
      return;
    }
    fill(byId("state"), element("div", { class: "message" }, element("div", { class: "spinner" }), element("p", { class: "muted" }, "Loading your booking…")));
    this.follower = new Follower(this.id, this.token, { seen: (booking) => this._seen(booking), failed: (error) => this._failed(error) });
    this.follower.look();
  }

  _tell(title, text, action) {
    fill(byId("state"), element("div", { class: "message" }, element("h1", {}, title), element("p", { class: "muted" }, text), action));
  }

  _failed(error) {
    if (error.passing) {
      if (this.booking === null) this._tell("The booking could not be loaded", "The box office does not answer just now. Trying again…", element("div", { class: "spinner" }));
      return; // what is shown stays
    }
    byId("booking").hidden = true;
    this.follower.stop();
    this._tell("There is no such booking for you", "Please use the whole link of the booking, with all that stands after #.", element("a", { class: "button", href: "/bookings" }, "My bookings"));
  }

  _seen(booking) {
    const first = this.booking === null;
    const before = this.booking?.state;
    const refundsBefore = first ? "" : refundsKey(this.booking);
    this.booking = booking;
    if (first) {
      fill(byId("state"));
      this._build();
      this._loadEvent();
    }
    if (before !== booking.state || refundsBefore !== refundsKey(booking)) this._show();
    if (!first && before !== booking.state) setText(byId("spoken"), explainState(booking).title);
    this._loadTickets();
  }

  /** Each time the booking is looked at: a ticket is printed anew, let in on, or taken back while this page is open. */
  async _loadTickets() {
    if (!HAS_TICKETS.has(this.booking.state)) return;
    try {
      this.tickets = await listTickets(this.id, this.token);
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      return; // what is shown stays
    }
    this._showTickets();
  }

  _showTickets() {
    if (this.tickets === null) return;
    const shown = JSON.stringify([this.tickets, this.booking.state, this.event !== null, this.layout !== null]);
    if (shown === this.ticketsShown) return;
    this.ticketsShown = shown;
    const printing = this.tickets.some((ticket) => ticket.qr);
    fill(
      byId("tickets"),
      element(
        "div",
        { class: "tickets-head" },
        element("h2", { id: "tickets-title" }, this.booking.lines.length === 1 ? "Your ticket" : "Your tickets"),
        printing && element("button", { class: "button", type: "button", id: "print", onclick: () => print() }, "Print"),
      ),
      element("ul", { class: "tickets", "aria-labelledby": "tickets-title" }, ...ticketCards(this.booking, this.tickets, { event: this.event, place: (line) => this._placeOf(line) })),
    );
    byId("tickets").hidden = false;
  }

  _placeOf(line) {
    if (line.area_id !== undefined) return this.event?.areas.find((candidate) => candidate.area_id === line.area_id)?.name ?? "Standing";
    const seat = this.layout?.indexOf(line.seat_id) ?? -1;
    return seat >= 0 ? seatName(this.layout.describe(seat)) : "Seat";
  }

  /** What was booked, in words: the event, and the layout, which names the seats. */
  async _loadEvent() {
    try {
      this.event = await fetchJson(`/api/v1/events/${encodeURIComponent(this.booking.event)}`);
      this._showEvent();
      if (this.booking.seats.length) {
        const { id, hash } = this.event.layout;
        this.layout = new Layout(await fetchJson(`/api/v1/layouts/${encodeURIComponent(id)}/${encodeURIComponent(hash)}`));
      }
    } catch (error) {
      console.warn("The names of the seats could not be loaded.", error);
    }
    this._showEvent();
  }

  _build() {
    const parts = {
      chip: element("span", { class: "chip" }),
      title: element("h1", { id: "title", tabIndex: -1 }),
      text: element("p", { class: "muted" }),
      name: element("h2", { id: "event-name" }, "…"),
      where: element("p", { class: "muted" }),
      lines: element("ul", { class: "lines" }),
      refunds: element("ul", { class: "lines", id: "refunds", "aria-label": "Refunds" }),
      acts: element("div", { class: "acts", id: "acts" }),
    };
    const total = element("p", { class: "total" }, element("span", {}, "Total"), element("span", { id: "total" }, money(this.booking.amount, this.booking.currency)));
    parts.verdict = element("div", { class: "verdict" }, parts.chip, parts.title, parts.text);
    fill(
      byId("booking"),
      parts.verdict,
      element("div", { class: "when" }, parts.name, parts.where),
      element("div", {}, parts.lines, total, parts.refunds),
      parts.acts,
    );
    this.parts = parts;
    byId("booking").hidden = false;
    this._showEvent();
    parts.title.focus();
  }

  _showEvent() {
    const { booking, event, layout, parts } = this;
    if (event) {
      setText(parts.name, event.name);
      setText(parts.where, [dateTime(event.starts_at), event.venue].filter(Boolean).join(" · "));
      document.title = `${event.name} · Booking · LML Live`;
    }
    const rows = linesOf(booking, (seatId) => layout?.indexOf(seatId) ?? -1).map(({ seat, areaId, count, amount, fee }) => {
      const area = event?.areas.find((candidate) => candidate.area_id === areaId)?.name ?? "Standing";
      const name = seat === null ? `${area}${count > 1 ? ` × ${count}` : ""}` : seat >= 0 ? seatName(layout.describe(seat)) : "Seat";
      const more = seat !== null && seat >= 0 ? layout.describe(seat).category : "";
      return element(
        "li",
        { class: "line" },
        element("span", {}, name, more ? element("small", {}, more) : null),
        element("span", { class: "amount" }, money(amount + fee, booking.currency), fee ? element("small", {}, `incl. ${money(fee, booking.currency)} fee`) : null),
      );
    });
    fill(parts.lines, ...rows);
    this._showTickets();
  }

  _show() {
    const { booking, parts } = this;
    const words = explainState(booking);
    setText(parts.chip, words.chip);
    parts.chip.dataset.tone = words.tone;
    parts.verdict.dataset.tone = words.tone;
    setText(parts.title, words.title);
    setText(parts.text, words.text);
    if (this.cancelAsked && words.tone === "good") setText(parts.text, "The payment was faster than the cancellation, so the seats are yours.");
    this._showRefunds();
    const pending = booking.state === "pending_payment";
    this.time = pending && booking.payment.status !== "none" ? element("span", { id: "time-left" }) : null;
    const eventAddress = `/events/${encodeURIComponent(booking.event)}`;
    fill(
      parts.acts,
      pending && booking.payment.status !== "none" ? element("a", { class: "button primary", id: "pay-link", href: `${eventAddress}?checkout=${encodeURIComponent(booking.id)}#${booking.access}` }, "Go on paying") : null,
      pending ? element("button", { class: "button", type: "button", id: "cancel", onclick: () => this._askCancel() }, "Give the seats back") : null,
      element("button", { class: "button", type: "button", id: "copy", onclick: () => this._copy() }, "Copy the link"),
      element("a", { class: "button", href: eventAddress }, "The hall"),
      element("p", { class: "note" }, this.time, "Keep the link of this page to yourself: who has it can see this booking. ", element("span", { class: "reference" }, `Booking ${booking.id} · ${plural(booking.lines.length, "place")}`)),
    );
    this._tick();
  }

  _showRefunds() {
    const { booking, parts } = this;
    const rows = (booking.refunds ?? []).map((refund) => {
      const { text, counts } = explainRefund(refund, booking.tender);
      const amount = money(refund.amount, booking.currency);
      return element("li", { class: "line" }, element("span", {}, text, element("small", {}, refund.reason)), element("span", { class: "amount" }, counts ? `−${amount}` : amount));
    });
    parts.refunds.hidden = !rows.length;
    fill(parts.refunds, ...rows);
  }

  _tick() {
    if (!this.time) return;
    const left = Date.parse(this.booking.expires_at) - Date.now();
    setText(this.time, left > 0 ? `${countdown(left)} left to pay. ` : "The time to pay is up. ");
  }

  _askCancel() {
    const no = () => {
      this._show();
      byId("cancel").focus();
    };
    this.time = null;
    fill(this.parts.acts, ...cancelQuestion({ yes: () => this._cancel(), no }));
    byId("cancel-yes").focus();
  }

  async _cancel() {
    if (this.cancelling) return;
    this.cancelling = true;
    this.cancelAsked = true;
    try {
      this._seen(await cancelBooking(this.id, this.token));
      this.parts.title.focus();
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      this.parts.acts.prepend(element("p", { class: "alert", role: "alert" }, "The box office did not answer. Please try again."));
    }
    this.cancelling = false;
    this.follower.look();
  }

  async _copy() {
    const address = new URL(bookingAddress(this.booking), location.href).href;
    let words = "Copied";
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      words = "Copy it from the address bar"; // no clipboard here
      history.replaceState(null, "", address);
    }
    setText(byId("copy"), words);
    setText(byId("spoken"), words);
  }
}

const page = new BookingPage(idFrom(location.pathname), location.hash.slice(1));
// A link with another secret pasted into the same window changes nothing but what stands after #.
addEventListener("hashchange", () => location.reload());
page.start();
