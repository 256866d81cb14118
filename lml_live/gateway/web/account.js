/**
 * Signing in and out, asking for a link, and choosing a password with what stands behind `#` in the mailed one.
 * What this browser holds goes along: the call is made with its holder's token.
 */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { readToken } from "./live.js";
import { accountName, keepSession, signedIn } from "./signedin.js";
import { cardName, savedCards } from "./waystopay.js";
import { plural } from "./words.js";

const form = byId("form");
const email = byId("email");
const password = byId("password");
const invitation = decodeURIComponent(location.hash.slice(1));
// The secret stays in no address bar, and in no history.
if (invitation) history.replaceState(null, "", location.pathname + location.search);

const STEPS = {
  sign_in: {
    title: "Sign in",
    lead: "The seats you hold in this browser come with you.",
    button: "Sign in",
    other: "No account yet, or password forgotten?",
    then: "link",
    fields: [email, password],
  },
  link: {
    title: "Get a link by e-mail",
    lead: "With it you choose a password: for a new account, or for the one you have.",
    button: "Send me the link",
    other: "Sign in with a password",
    then: "sign_in",
    fields: [email],
  },
  password: {
    title: "Choose a password",
    lead: "At least 10 characters. You are signed in with it here, and signed out everywhere else.",
    button: "Save and sign in",
    other: "",
    then: "",
    fields: [password],
  },
};
let step = "sign_in";

function show(name, { focus = true } = {}) {
  step = name;
  const { title, lead, button, other, fields } = STEPS[name];
  document.title = `${title} · LML Live`;
  setText(byId("title"), title);
  setText(byId("lead"), lead);
  setText(byId("go"), button);
  setText(byId("error"), "");
  byId("email-row").hidden = !fields.includes(email);
  byId("password-row").hidden = !fields.includes(password);
  password.autocomplete = name === "password" ? "new-password" : "current-password";
  setText(byId("other"), other);
  byId("other").hidden = !other;
  form.hidden = false;
  fill(byId("done"));
  if (focus) fields[0].focus();
}

/** The page to go back to: one of ours, or the list of bookings. */
function back() {
  const path = new URLSearchParams(location.search).get("back") ?? "";
  return /^\/(?![/\\])/.test(path) && !path.startsWith("/account") ? path : "/bookings";
}

function tell(title, text, ...actions) {
  form.hidden = true;
  document.title = `${title} · LML Live`;
  setText(byId("title"), title);
  setText(byId("lead"), text);
  fill(byId("done"), ...actions);
  byId("title").focus();
}

function showSignedIn(text = "") {
  tell(
    "Signed in",
    [accountName(), text].filter(Boolean).join(" · "),
    element("a", { class: "button primary", href: back() }, "Go on"),
    element("button", { class: "button", type: "button", onclick: signOut }, "Sign out"),
    cards,
  );
  showCards();
}

const cards = element("section", { class: "cards", id: "cards", hidden: true, "aria-label": "Saved cards" });

/** The cards that were saved at a checkout; each can be removed. */
async function showCards(said = "") {
  const found = await savedCards();
  cards.hidden = !found.length && !said;
  fill(
    cards,
    element("h2", {}, "Saved cards"),
    element("p", { class: "muted", role: "status" }, said || "Stripe keeps them; they pay for your next bookings."),
    element(
      "ul",
      {},
      ...found.map((card) => element("li", {}, element("span", {}, cardName(card)), element("button", { class: "button", type: "button", "aria-label": `Remove ${cardName(card)}`, onclick: () => removeCard(card) }, "Remove"))),
    ),
  );
}

async function removeCard(card) {
  try {
    await call("DELETE", `/accounts/cards/${encodeURIComponent(card.id)}`, { token: readToken() });
    await showCards(`${cardName(card)} was removed.`);
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    await showCards(error.status === 404 ? `${cardName(card)} was removed already.` : "The card could not be removed just now. Please try again.");
  }
}

async function signOut() {
  try {
    await call("DELETE", "/sessions", { token: readToken() });
  } catch (error) {
    if (!(error instanceof CallFailed) || error.passing) {
      setText(byId("lead"), "The server cannot be reached just now: you are still signed in.");
      return;
    }
  }
  keepSession(null);
  show("sign_in");
}

/** What a refusal means to whoever reads it. */
function explain(error) {
  if (error.status === 401 && step === "password") return "This link is not good any more: ask for another one.";
  if (error.status === 401) return "The e-mail address or the password is wrong.";
  if (error.status === 429) return "Too many attempts: please wait some minutes.";
  if (error.status === 422) return "Please look at what you have typed again.";
  return error.problem?.detail ?? "The server cannot be reached just now.";
}

/** Whether what is typed can be sent; else says what is missing, where it is missing. */
function check(fields) {
  for (const field of fields) {
    const why = field.validity.valid ? "" : field === email ? "Please type your e-mail address." : "A password has at least 10 characters.";
    field.setAttribute("aria-invalid", String(Boolean(why)));
    field.setAttribute("aria-describedby", "error");
    if (why) {
      setText(byId("error"), why);
      field.focus();
      return false;
    }
  }
  return true;
}

async function begin(path, body) {
  const begun = await call("POST", path, { token: readToken(), body });
  password.value = "";
  keepSession(begun);
  // What is being paid for comes along by itself, and what has expired is nobody's.
  const full = (begun.handed_over?.kept ?? []).filter((hold) => hold.code === "limit_exceeded");
  if (full.length) {
    const stay = plural(full.length, "hold");
    showSignedIn(`${stay} could not come along: your account has as many places as one may have.`);
  } else {
    location.assign(back());
  }
}

async function submit() {
  if (!check(STEPS[step].fields)) return;
  setText(byId("error"), "");
  byId("go").disabled = true;
  try {
    if (step === "sign_in") await begin("/sessions", { email: email.value.trim(), password: password.value, as: "buyer" });
    else if (step === "password") await begin("/accounts/password", { invitation, password: password.value });
    else {
      await call("POST", "/accounts", { token: null, body: { email: email.value.trim() } });
      tell("Look into your mail", `If mail can reach ${email.value.trim()}, a link is on its way. It is good for an hour.`);
    }
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    setText(byId("error"), explain(error));
    STEPS[step].fields.at(-1).focus();
  } finally {
    byId("go").disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("other").addEventListener("click", () => show(STEPS[step].then));

if (invitation) show("password");
else if (signedIn()) showSignedIn();
else show("sign_in");
