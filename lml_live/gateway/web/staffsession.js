/**
 * Staff at a page: the form to sign in with, and the token. The session lasts as long as the tab: these are pages for
 * money, and machines are shared. The page has `form`, `email`, `password`, `error`, `go`, `out`, `title`, `lead`, `state`.
 */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { randomKey } from "./keys.js";

const TOKEN_KEY = "lml.staff-token";
const ACCOUNT_KEY = "lml.staff-account";

export class StaffSession {
  /**
   * @param {object} page
   * @param {string} page.title of the form to sign in with
   * @param {string[]} page.parts ids of what nobody sees who has not signed in
   * @param {string} page.forbidden what those are told whose role may not
   * @param {() => Promise<void>} page.start shows what there is to see
   * @param {() => void} page.missing says that there is no such thing
   */
  constructor(page) {
    this.page = page;
    this.token = read(TOKEN_KEY);
    /** Who has signed in: the e-mail address, or a name that no other tab has where only the token is known. */
    this.account = read(ACCOUNT_KEY) ?? `tab ${randomKey()}`;
    if (this.token) this._keep(this.token, this.account);
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this._signIn();
    });
    byId("out").addEventListener("click", () => this._signOut());
  }

  begin() {
    if (this.token) this._start();
    else this._ask();
  }

  head(title, lead = "") {
    document.title = `${title} · LML Live`;
    setText(byId("title"), title);
    setText(byId("lead"), lead);
    fill(byId("state"));
  }

  tell(title, text, action) {
    fill(byId("state"), element("div", { class: "message" }, element("h2", {}, title), element("p", { class: "muted" }, text), action));
  }

  /** Does something that asks the server; whoever is signed in no longer is asked to sign in. */
  async attempt(act, again) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      if (error.status === 401) this._ask("Please sign in again.");
      else if (error.status === 403) this._ask(this.page.forbidden);
      else if (error.status === 404) this.page.missing();
      else this.tell("That did not work", error.problem?.detail ?? "The server cannot be reached just now.", element("button", { class: "button primary", type: "button", onclick: () => this.attempt(again ?? act) }, "Try again"));
    }
  }

  _start() {
    byId("form").hidden = true;
    byId("out").hidden = false;
    return this.attempt(this.page.start);
  }

  _ask(why = "") {
    this._keep(null, "");
    this.head(this.page.title);
    for (const id of [...this.page.parts, "out"]) byId(id).hidden = true;
    byId("form").hidden = false;
    setText(byId("error"), why);
    byId("email").focus();
  }

  _keep(token, account) {
    this.token = token;
    this.account = account;
    try {
      for (const [key, value] of [[TOKEN_KEY, token], [ACCOUNT_KEY, account]]) {
        if (value) sessionStorage.setItem(key, value);
        else sessionStorage.removeItem(key);
      }
    } catch {
      // Storage is forbidden: the session lasts as long as the page.
    }
  }

  async _signIn() {
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
      this._keep(session.token, email.value.trim().toLowerCase());
      await this._start();
      if (this.token) byId("title").focus();
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      const words = { 401: "The e-mail address or the password is wrong.", 429: "Too many attempts: please wait some minutes." };
      setText(byId("error"), words[error.status] ?? "The server cannot be reached just now.");
    } finally {
      byId("go").disabled = false;
    }
  }

  async _signOut() {
    await call("DELETE", "/sessions", { token: this.token }).catch((error) => {
      if (!(error instanceof CallFailed)) throw error;
    });
    this._ask();
  }
}

function read(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
