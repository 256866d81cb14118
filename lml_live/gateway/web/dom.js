/** Small ways to build a page. Text goes in as text, never as markup. */

/**
 * Makes an element. `properties` sets properties; `class`, `data` and `aria-…` do as they say.
 * @param {string} tag
 * @param {object} [properties]
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "onclick") made.addEventListener("click", value);
    else if (name.startsWith("aria-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Replaces what is in an element. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  return document.getElementById(id);
}

/** Sets a text only when it is another, so that live regions stay quiet. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** The id that an address ends with: /events/{event}, /bookings/{booking}. */
export function idFrom(path) {
  const part = path.replace(/\/+$/, "").split("/").pop();
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Reads JSON from this origin or the layout's address.
 * @throws {RequestFailed} with the status (0: no answer) and the problem's code
 */
export async function fetchJson(address) {
  let response;
  try {
    response = await fetch(address, { headers: { Accept: "application/json" } });
  } catch {
    throw new RequestFailed(0, "unreachable");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new RequestFailed(response.status, problem.code ?? "");
  }
  try {
    return await response.json();
  } catch {
    throw new RequestFailed(response.status, "invalid_message");
  }
}

export class RequestFailed extends Error {
  constructor(status, code) {
    super(`${status} ${code}`.trim());
    this.status = status;
    this.code = code;
  }
}
