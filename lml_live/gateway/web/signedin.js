/** Who has signed in here: the holder's token says that somebody has, and a note beside it says who. */

import { readToken, writeToken } from "./live.js";

const EMAIL_KEY = "lml.account";

/** @returns {boolean} whether this browser's token is of a buyer who has signed in */
export function signedIn() {
  const body = (readToken() ?? "").replace(/^lmlh_/, "").split(".")[0];
  try {
    return Boolean(JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/"))).s);
  } catch {
    return false;
  }
}

/** @returns {string} their e-mail address, where it is known */
export function accountName() {
  try {
    return localStorage.getItem(EMAIL_KEY) ?? "";
  } catch {
    return "";
  }
}

/** From here on this browser is the account's; null: nobody's. */
export function keepSession(begun) {
  writeToken(begun?.token ?? null);
  try {
    if (begun) localStorage.setItem(EMAIL_KEY, begun.email);
    else localStorage.removeItem(EMAIL_KEY);
  } catch {
    // Storage is forbidden: the session lasts as long as the page.
  }
}

/** Makes the page's links to the account say whether somebody has signed in, and lead back here afterwards. */
export function showAccount() {
  for (const link of document.querySelectorAll(".account-link")) {
    link.textContent = signedIn() ? "Account" : "Sign in";
    link.href = `/account?back=${encodeURIComponent(location.pathname)}`;
  }
}
