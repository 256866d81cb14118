/** The seating plans that managers draw: each with how far its latest version is, a new one, and a file read into one. */

import { call, CallFailed } from "./bookingapi.js";
import { byId, element, fill, setText } from "./dom.js";
import { keepPlan } from "./layoutkeep.js";
import { ID, idOf } from "./plan.js";
import { StaffSession } from "./staffsession.js";
import { PLAN_STATES, plural, shortDateTime } from "./words.js";

const PAGE = 50;
const READ_MS = 120_000;

const session = new StaffSession({
  title: "Sign in as a manager",
  parts: ["plans"],
  forbidden: "This account may not see seating plans.",
  start,
  missing: () => session.tell("There is no such plan", "Somebody may have taken it away."),
});
let next = null;
let idTyped = false;

async function start() {
  session.head("Seating plans", "Draw a hall, mend it, deploy it for events.");
  next = null;
  fill(byId("list"));
  await show();
  byId("plans").hidden = false;
}

async function show() {
  const page = await call("GET", `/layouts?limit=${PAGE}${next ? `&cursor=${encodeURIComponent(next)}` : ""}`, { token: session.token });
  byId("list").append(...page.items.map(card));
  next = page.next;
  byId("more").hidden = next === null;
  if (!byId("list").childElementCount) session.tell("No plans yet", "Draw a new one, or import what you have.");
}

function card(version) {
  const [words, tone] = version.damaged_at ? ["Damaged", "warn"] : (PLAN_STATES[version.state] ?? [version.state, ""]);
  return element(
    "li",
    {},
    element(
      "a",
      { class: "card", href: editAddress(version.id) },
      element("h2", {}, version.name),
      element("span", { class: "where" }, `${version.id} · version ${version.version} · ${plural(version.place_count, "place")} · ${shortDateTime(version.saved_at)}`),
      element("span", { class: "chip", data: { tone } }, words),
    ),
  );
}

function editAddress(id) {
  return `/layouts/${encodeURIComponent(id)}/edit`;
}

function unfold(name) {
  for (const other of ["new", "import"]) {
    const open = other === name && byId(`${other}-form`).hidden;
    byId(`${other}-form`).hidden = !open;
    byId(other).setAttribute("aria-expanded", String(open));
    if (open) byId(`${other}-form`).querySelector("input").focus();
  }
}

/** A number above 0, or null. */
function size(id) {
  const value = Number(byId(id).value.replace(",", "."));
  return Number.isFinite(value) && value > 0 && value <= 1e6 ? value : null;
}

async function begin() {
  const [name, id, width, height] = [byId("new-name").value.trim(), byId("new-id").value.trim(), size("new-width"), size("new-height")];
  const wrong = !name ? ["new-name", "Please give it a name."] : !ID.test(id) ? ["new-id", "An id has 1 to 64 of A to Z, a to z, 0 to 9 and -."] : width === null ? ["new-width", "A width is a number above 0."] : height === null ? ["new-height", "A height is a number above 0."] : null;
  setText(byId("new-error"), wrong ? wrong[1] : "");
  if (wrong) {
    byId(wrong[0]).focus();
    return;
  }
  if (await exists(id)) {
    setText(byId("new-error"), `There is a plan ${id} already.`);
    byId("new-id").focus();
    return;
  }
  location.assign(`${editAddress(id)}?${new URLSearchParams({ name, width, height })}`);
}

async function exists(id) {
  try {
    await call("GET", `/layouts/${encodeURIComponent(id)}/versions`, { token: session.token });
    return true;
  } catch (error) {
    if (error instanceof CallFailed && error.status === 404) return false;
    throw error;
  }
}

async function readFile() {
  const [file, mapping, id] = [byId("import-file").files[0], byId("import-mapping").files[0], byId("import-id").value.trim()];
  byId("import-faults").hidden = true;
  forgetRead();
  if (!file || (id && !ID.test(id))) {
    setText(byId("import-error"), file ? "An id has 1 to 64 of A to Z, a to z, 0 to 9 and -." : "Please choose a file.");
    byId(file ? "import-id" : "import-file").focus();
    return;
  }
  setText(byId("import-error"), "");
  byId("import-go").disabled = true;
  try {
    const body = { text: await file.text(), filename: file.name, ...(id && { id }), ...(mapping && { mapping: await mapping.text() }) };
    const read = await call("POST", "/layouts/read", { token: session.token, body, wait_ms: READ_MS });
    if (read.existing) askToReplace(read);
    else await openRead(read);
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    if (error.status === 401) await session.attempt(() => Promise.reject(error));
    setText(byId("import-error"), error.problem.detail ?? "The server cannot be reached just now.");
    const faults = error.problem.errors ?? [];
    fill(byId("import-faults"), ...faults.slice(0, 100).map((each) => element("li", {}, `${each.path ? `${each.path}: ` : ""}${each.message}`)));
    byId("import-faults").hidden = !faults.length;
  } finally {
    byId("import-go").disabled = false;
  }
}

/** Takes what was read to the editor. */
async function openRead(read) {
  const { hash: _hash, ...layout } = read.layout;
  const notes = [...read.renamings.map((each) => Object.values(each).join(" ")), ...read.notes];
  // A save names the draft that was told of, and no other.
  const base = read.existing?.state === "draft" ? read.existing.hash : null;
  await keepPlan(session.account, layout.layout_id, { text: JSON.stringify(layout), base, why: "imported", notes: notes.slice(0, 200) });
  location.assign(editAddress(layout.layout_id));
}

/** Tells what has the id of the file already, before anything takes its place. */
function askToReplace(read) {
  const { id, name, version, state, place_count: places, saved_at: saved } = read.existing;
  const what = `${name}, version ${version}, ${PLAN_STATES[state][0].toLowerCase()}, ${plural(places, "place")}, saved ${shortDateTime(saved)}`;
  const then = state === "draft" ? "Saving it there replaces that draft." : `Saving it there makes the next version's draft; version ${version} stays as it is.`;
  setText(byId("import-exists-title"), `There is a plan ${id} already`);
  setText(byId("import-exists-words"), `${what}. The editor would show the file in its place. ${then}`);
  byId("import-over").onclick = () => session.attempt(() => openRead(read));
  byId("import-other").onclick = () => chooseAnother(id);
  byId("import-exists").hidden = false;
  byId("import-exists").scrollIntoView({ block: "nearest" });
  byId("import-exists-title").focus({ preventScroll: true });
}

/** The id to be changed; the next one is free, or told of in its turn. */
function chooseAnother(id) {
  forgetRead();
  const field = byId("import-id");
  field.value ||= id;
  field.focus();
  field.select();
}

/** What was asked about a file is no question any more. */
function forgetRead() {
  byId("import-exists").hidden = true;
}

byId("import-form").addEventListener("input", forgetRead);
byId("new").addEventListener("click", () => unfold("new"));
byId("import").addEventListener("click", () => unfold("import"));
byId("new-name").addEventListener("input", () => {
  if (!idTyped) byId("new-id").value = byId("new-name").value.trim() ? idOf(byId("new-name").value) : "";
});
byId("new-id").addEventListener("input", () => {
  idTyped = byId("new-id").value !== "";
});
for (const [form, act] of [["new-form", begin], ["import-form", readFile]]) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    session.attempt(act);
  });
}
byId("more").addEventListener("click", () => session.attempt(show));
session.begin();
