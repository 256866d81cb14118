/**
 * The checkout, in the panel beside the map, which stays live: who buys, then the card, then the outcome.
 *
 * A hold becomes a booking at the first step; from then on the server is the truth and is followed: this page may be
 * reloaded, or left for the bank's page and come back to, at any moment. Steps: `details`, then those of `stepOf`.
 */

import { cancelBooking, CallFailed, createBooking, call, Follower, keepAccess, keptAccess, saysNotSetUp } from "./bookingapi.js";
import { rememberBuying } from "./bought.js";
import { field, sayWrong } from "./cardform.js";
import { cancelQuestion, STEPS } from "./checkoutsteps.js";
import { explainCard, explainPrice, explainQueue, explainRefusal, explainWaiting, stepOf } from "./checkoutwords.js";
import { byId, element, fill, setText } from "./dom.js";
import { randomKey } from "./keys.js";
import { linesOf } from "./lines.js";
import { readToken } from "./live.js";
import { makePayment } from "./payment.js";
import { accountName, signedIn } from "./signedin.js";
import { countdown, money, plural } from "./words.js";

const WARN_MS = 60_000;
/** A payment that was sent and is not heard of for so long is looked at where it was sent. */
const LOOK_AFTER_MS = 6_000;
const EMAIL = /^[^@\s]+@[^@\s]+$/;
const TIMED = new Set(["details", "preparing", "pay"]);

export class Checkout {
  /** @param {object} page see event.js */
  constructor(page) {
    this.page = page;
    this.host = byId("checkout");
    this.step = null;
    this.hold = null;
    this.booking = null;
    this.name = field("buyer-name", "Name", { autocomplete: "name", autocapitalize: "words", maxLength: 100, required: true });
    this.email = field("buyer-email", "E-mail", { autocomplete: "email", type: "email", inputMode: "email", maxLength: 254, required: true });
    this.saveCard = element("input", { type: "checkbox", id: "save-card" });
    this._buildFrame();
    this._reset();
  }

  get isOpen() {
    return this.step !== null;
  }

  // ---- coming and going

  /** From the Buy button: the buyer's name and address first. */
  begin(hold) {
    this._reset();
    this.hold = hold;
    if (signedIn() && !this.email.input.value) this.email.input.value = accountName();
    this._open();
    this._show("details");
  }

  /** A booking that was begun before: in another window, before a reload, or before the bank's page. */
  async resume(id, access = null) {
    this._reset();
    this.access = access ?? keptAccess(id);
    this.returned = true;
    this._open();
    this._show("preparing");
    this._follow(id);
  }

  close() {
    // On a phone the sheet covers the hall, which is what is wanted next.
    if (this.step === "done" || this.step === "over") this.page.panel.openSheet(false);
    this._reset();
    this.step = null;
    this.host.hidden = true;
    delete byId("panel").dataset.mode;
    this.page.panel.showMine();
    this.page.makeRoom();
    const sheet = byId("sheet");
    (byId("panel").dataset.open === undefined && sheet.offsetParent ? sheet : byId("mine-title")).focus();
  }

  _reset() {
    this.follower?.stop();
    this.payment?.unmount();
    Object.assign(this, { follower: null, payment: null, hold: null, booking: null, access: null, sent: false, sentAt: 0 });
    Object.assign(this, { cancelAsked: false, returned: false, key: null, keyFor: "", busy: false, refusal: "", looking: false, _warned: false });
    this.say("");
  }

  _open() {
    this.step = "";
    this.host.hidden = false;
    byId("panel").dataset.mode = "checkout";
    this._nameSheet();
    this.page.panel.openSheet(true);
  }

  // ---- what others tell

  /** Holds, prices or the layout have changed. */
  update() {
    if (!this.isOpen) return;
    if (this.step === "details" && !this.busy) {
      const now = this.page.live.protocol.holds.get(this.hold.id);
      if (now?.state === "active") this.hold = now;
      else if (now?.booking && this.key !== null) return undefined; // whether it became ours is not known: the same key tells
      else if (now?.booking) return void this.resume(now.booking);
      else return this._end("The time for those seats was up, so they went back on sale. Nothing was charged.");
    }
    this._showLines();
    return undefined;
  }

  /** One of the visitor's holds has changed: the booking may have. */
  holdChanged(message) {
    if (this.booking && (message.booking === this.booking.id || message.hold === this.booking.hold)) this.follower?.look();
  }

  /** Whether it is this checkout that speaks of a hold, so that nobody else needs to. */
  speaksOf(hold) {
    return this.isOpen && (this.hold?.id === hold || this.booking?.hold === hold);
  }

  /** Twice a second: the time that is left. */
  tick() {
    if (!this.isOpen) return;
    const end = this.booking ? Date.parse(this.booking.expires_at) : this.hold?.deadline_ms;
    const left = TIMED.has(this.step) && end ? end - this.page.live.now() : null;
    for (const target of [this.time, byId("sheet-time")]) {
      setText(target, left === null ? "" : left > 0 ? countdown(left) : "time is up");
      if (left !== null && left <= WARN_MS) target.dataset.tone = "warn";
      else delete target.dataset.tone;
    }
    if (left !== null && left <= WARN_MS && left > 0 && !this._warned) {
      this._warned = true;
      this.page.speak("One minute is left to pay.");
    }
    if (this.step === "waiting" && performance.now() - this.sentAt > LOOK_AFTER_MS) this._lookAtIntent();
  }

  say(text) {
    setText(this.alert, text);
    this.alert.hidden = !text;
  }

  // ---- the frame, made once

  _buildFrame() {
    this.title = element("h2", { id: "checkout-title", tabIndex: -1 });
    this.time = element("span", { class: "time", role: "timer", id: "checkout-time" });
    this.alert = element("p", { class: "alert", role: "alert", id: "checkout-alert", hidden: true });
    this.lines = element("details", { class: "summary", open: true });
    this.body = element("div", { class: "step", id: "checkout-step" });
    this.acts = element("div", { class: "checkout-acts" });
    const form = element(
      "form",
      { noValidate: true, class: "checkout-form" },
      element("div", { class: "checkout-body" }, element("div", { class: "row-head" }, this.title, this.time), this.alert, this.body, this.lines),
      this.acts,
    );
    form.addEventListener("submit", (happening) => {
      happening.preventDefault();
      if (this.busy) return;
      if (this.step === "details") this._book();
      else if (this.step === "pay") this._pay();
    });
    byId("sheet").addEventListener("click", () => this.isOpen && this.page.makeRoom());
    form.addEventListener("keydown", (happening) => {
      if (happening.key === "Escape" && !this.busy && ["details", "done", "over"].includes(this.step)) this.close();
    });
    fill(this.host, form);
  }

  _show(step) {
    const entered = this.step !== step;
    this.step = step;
    if (!entered) return;
    if (step === "pay") this.payment ??= makePayment(this.booking.payment);
    const { title, body, acts } = STEPS[step](this);
    setText(this.title, title);
    fill(this.body, ...body);
    this._setActs(acts);
    // Where there is little room the hall above and the fields come first.
    this.lines.open = matchMedia("(min-width: 801px)").matches;
    this.host.dataset.step = step;
    this._showLines();
    this.tick();
    this.title.focus();
    this.host.querySelector(".checkout-body").scrollTop = 0;
    if (step === "pay") this.payment.mount(this.body.querySelector(".card-host"));
    this.page.makeRoom();
  }

  _setActs(acts) {
    fill(this.acts, ...acts);
    this.acts.hidden = !acts.length;
  }

  _showLines() {
    const { page } = this;
    const source = this.booking ?? this.hold;
    this.lines.hidden = !source || this.step === "over";
    this._nameSheet();
    if (!source) return;
    const { layout } = page;
    const rows = linesOf(source, (seatId) => layout?.indexOf(seatId) ?? -1).map(({ seat, areaId, count, amount, fee }) =>
      element(
        "li",
        { class: "line" },
        element("span", {}, seat === null ? `${page.areaName(areaId)}${count > 1 ? ` × ${count}` : ""}` : page.fullName(seat), seat === null ? null : element("small", {}, seat < 0 || !layout ? "" : page.categoryLabel(seat))),
        element("span", { class: "amount" }, money(amount + fee, source.currency), fee ? element("small", {}, `incl. ${money(fee, source.currency)} fee`) : null),
      ),
    );
    const total = money(source.amount, source.currency);
    fill(
      this.lines,
      element("summary", {}, element("span", {}, plural(source.lines.length, "place")), element("span", { class: "amount" }, total)),
      element("ul", { class: "lines" }, ...rows),
      element("p", { class: "total" }, element("span", {}, "Total"), element("span", { id: "checkout-total" }, total)),
    );
    const pay = byId("pay-button");
    if (pay && !this.busy) setText(pay, `Pay ${total}`);
  }

  /** The handle of the sheet, on a phone: what it is about, and its price as long as there is something to buy. */
  _nameSheet() {
    const source = this.booking ?? this.hold;
    const price = source && this.step !== "over" ? ` · ${money(source.amount, source.currency)}` : "";
    setText(byId("sheet-text"), `${{ done: "Booked", over: "Not booked" }[this.step] ?? "Checkout"}${price}`);
  }

  // ---- acts

  /** Makes the booking of the hold. The key stays while the outcome of a try is not known. */
  async _book() {
    const [name, email] = [this.name.input.value.trim(), this.email.input.value.trim()];
    sayWrong(this.name, name ? "" : "Please give your name.");
    sayWrong(this.email, EMAIL.test(email) ? "" : "Please give an e-mail address, such as name@example.org.");
    const wrong = [this.name, this.email].find(({ input }) => input.getAttribute("aria-invalid"));
    if (wrong) {
      wrong.input.focus();
      return;
    }
    const body = { hold: this.hold.id, buyer: { name, email }, expected_amount: this.hold.amount };
    if (signedIn() && this.saveCard.checked) body.save_card = true;
    const wish = JSON.stringify(body);
    if (this.key === null || this.keyFor !== wish) [this.key, this.keyFor] = [randomKey(), wish];
    this._setBusy(true, "One moment…");
    try {
      const booking = await createBooking(body, { token: readToken() ?? this.page.live.protocol.token, key: this.key });
      this._setBusy(false);
      this.access = booking.access;
      this._seen(booking);
      this._follow(booking.id);
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      if (!error.passing) this.key = null; // decided: another try is another request
      this._setBusy(false);
      await this._refused(error);
    }
  }

  async _refused(error) {
    const { page } = this;
    if (saysNotSetUp(error)) {
      page.panel.closeBuying();
      this.close();
      page.toast("Buying is not set up here.", "warn");
      return;
    }
    if (error.code === "price_changed") {
      await this._showNewPrice();
      return;
    }
    const held = page.live.protocol.holds.get(this.hold.id);
    if (error.code === "hold_in_checkout" && held?.booking) {
      await this.resume(held.booking);
      return;
    }
    const { text, ends } = explainRefusal(error, {
      seat: () => "a seat",
      area: (id) => page.areaName(id),
      limits: page.live.protocol.limits,
      onSaleAtMs: page.live.protocol.event?.on_sale_at_ms,
      now: page.live.now(),
    });
    if (ends) this._end(text);
    else this._failed(text, error.code === "invalid_message" ? this.email.input : byId("continue-button"));
  }

  async _showNewPrice() {
    const before = this.hold;
    try {
      this.hold = { ...before, ...(await call("GET", `/holds/${encodeURIComponent(before.id)}`, { token: readToken() })) };
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
    }
    this._showLines();
    this._failed(explainPrice(before.amount, this.hold.amount, this.hold.currency), byId("continue-button"));
  }

  async _pay() {
    this.say("");
    this._setBusy(true, "Paying…");
    const { booking, payment } = this;
    const address = new URL(`/events/${encodeURIComponent(booking.event)}`, location.href);
    address.searchParams.set("checkout", booking.id);
    keepAccess(booking.id, booking.access); // whoever has to ask the bank leaves this page, with Stripe.js at once
    const result = await payment.pay({ name: this.name.input.value.trim(), email: this.email.input.value.trim(), returnUrl: address.href });
    if (this.booking !== null && this.booking.id !== booking.id) return;
    if (result.outcome === "away") {
      location.assign(result.url); // and stay busy until this page is left
      return;
    }
    this._setBusy(false);
    if (result.outcome === "sent") {
      this._markSent();
      this.follower?.look();
    } else if (result.error) {
      this._failed(explainCard(result.error));
      payment.focus();
    }
  }

  askCancel() {
    if (this.busy) return;
    const no = () => {
      this._setActs(STEPS.pay(this).acts);
      byId("cancel-button").focus();
    };
    this._setActs(cancelQuestion({ yes: () => this._cancel(), no }));
    byId("cancel-yes").focus();
  }

  async _cancel() {
    if (this.busy) return;
    this.cancelAsked = true;
    this.say("");
    this._setBusy(true, "One moment…");
    try {
      const booking = await cancelBooking(this.booking.id, this.access ?? readToken());
      this._setBusy(false);
      this._seen(booking);
      this.follower?.look();
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      this._setBusy(false);
      this._failed("The box office did not answer. Please try again.", byId("cancel-yes"));
    }
  }

  // ---- following the booking

  _follow(id) {
    this.follower?.stop();
    this.follower = new Follower(id, this.access ?? readToken(), {
      seen: (booking) => this._seen(booking),
      failed: (error) => this._cannotRead(error),
    });
    this.follower.look();
  }

  _seen(booking) {
    this.booking = booking;
    this.hold = null;
    this.access = booking.access;
    const step = stepOf(booking, this.sent);
    if (this.busy && step === "pay") return;
    if (step === "pay" && this.returned) {
      this.returned = false;
      this.payment = makePayment(booking.payment);
      this._lookAtIntent(); // the card may have been sent before this page was loaded
      return;
    }
    if (step === "pay" && this.looking) return;
    if (step === "done") {
      rememberBuying();
      this.page.bought.add(booking);
    }
    if (step !== this.step && step !== "pay") this.say("");
    this._show(step);
    if (step === "waiting") setText(byId("waiting-note"), explainWaiting(booking, this.sent));
    if (step === "preparing") setText(byId("queue-note"), explainQueue(booking.payment.queue));
  }

  _cannotRead(error) {
    if (error.passing) {
      this.say("The box office does not answer just now. Trying again…");
      return;
    }
    this._end("This booking cannot be shown in this browser. Please use the link of the booking.");
  }

  /** Asks where the card was sent how the payment stands. */
  async _lookAtIntent() {
    if (this.looking || !this.payment) return;
    this.looking = true;
    const { payment } = this;
    const found = await payment.look();
    this.looking = false;
    if (this.payment !== payment || this.booking?.state !== "pending_payment") return;
    this.sentAt = performance.now();
    if (found?.sent) {
      this._markSent();
    } else if (found || !this.sent) {
      this.sent = false;
      this._show("pay");
      if (found?.error) this._failed(explainCard(found.error));
    }
  }

  _markSent() {
    this.sent = true;
    this.sentAt = performance.now();
    this._show(stepOf(this.booking, true));
  }

  _end(text) {
    this.follower?.stop();
    this.booking = null;
    this.refusal = text;
    this.say("");
    this._show("over");
  }

  _failed(text, focus = null) {
    this.say("");
    this.say(text);
    focus?.focus();
    this.page.makeRoom();
    if (this.step === "pay" || !focus) this.alert.scrollIntoView({ block: "nearest" });
  }

  _setBusy(busy, words = "") {
    this.busy = busy;
    for (const button of this.acts.querySelectorAll("button")) {
      button.setAttribute("aria-disabled", String(busy));
      if (busy && button.classList.contains("primary")) {
        button.dataset.words = button.textContent;
        setText(button, words);
      } else if (button.dataset.words) {
        setText(button, button.dataset.words);
        delete button.dataset.words;
      }
    }
  }
}
