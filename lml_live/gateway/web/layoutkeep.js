/**
 * Plans that are not saved yet, kept in this browser: what a reload or a crash would lose, and a file on its way from the
 * list to the editor. Each is its owner's, who has signed in here, and its page's: nobody is offered what another has
 * drawn, and no tab writes over what another keeps. A few of them only, and none where storage is forbidden.
 */

import { randomKey } from "./keys.js";

const DATABASE = "lml.plans";
/** The first one's records had no owner. */
const VERSION = 2;
const STORE = "kept";
const OLD_STORE = "unsaved";
/** Of one owner, and of all. */
export const KEPT_MAX = 5;
export const KEPT_BY_ALL_MAX = 20;
/** Which page has kept a plan. */
const PAGE = randomKey();

/** @returns {Promise<IDBDatabase|null>} */
function open() {
  return new Promise((resolve) => {
    let request;
    try {
      request = indexedDB.open(DATABASE, VERSION);
    } catch {
      resolve(null);
      return;
    }
    request.onupgradeneeded = () => {
      const database = request.result;
      if (database.objectStoreNames.contains(OLD_STORE)) database.deleteObjectStore(OLD_STORE);
      database.createObjectStore(STORE, { keyPath: ["owner", "id", "page"] });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => resolve(null);
  });
}

/** Runs `act` on the store; its answer, or null where there is no store. */
async function within(mode, act) {
  const database = await open();
  if (!database) return null;
  try {
    return await new Promise((resolve) => {
      const transaction = database.transaction(STORE, mode);
      let answer = null;
      transaction.oncomplete = () => resolve(answer);
      transaction.onerror = transaction.onabort = () => resolve(null);
      act(transaction.objectStore(STORE), (value) => {
        answer = value;
      });
    });
  } finally {
    database.close();
  }
}

/**
 * Keeps a plan as this page's, in place of what this page has kept of it before.
 * @param {string} owner who has signed in
 * @param {{text: string, base: string|null, why: string, notes?: string[], sent?: object|null}} what `base` is the hash
 *   that it was drawn on, `sent` a save of it that got no answer
 */
export function keepPlan(owner, id, what) {
  return within("readwrite", (store) => {
    store.put({ owner, id, page: PAGE, at: Date.now(), ...what });
    const all = store.getAllKeys();
    all.onsuccess = () => {
      if (all.result.length <= KEPT_MAX) return;
      const found = [];
      const walk = store.openCursor();
      walk.onsuccess = () => {
        const cursor = walk.result;
        if (cursor) {
          found.push([cursor.value.at, cursor.key]);
          cursor.continue();
          return;
        }
        found.sort((a, b) => b[0] - a[0]);
        const gone = found.filter(([, key]) => key[0] === owner).slice(KEPT_MAX);
        gone.push(...found.filter((each) => !gone.includes(each)).slice(KEPT_BY_ALL_MAX));
        for (const [, key] of gone) store.delete(key);
      };
    };
  });
}

/**
 * What somebody has kept of a plan in this browser, the latest first.
 * @returns {Promise<{text: string, base: string|null, why: string, at: number, page: string, notes?: string[]}[]>}
 */
export async function keptPlans(owner, id) {
  const found = await within("readonly", (store, answer) => {
    const request = store.getAll(IDBKeyRange.bound([owner, id], [owner, id, []]));
    request.onsuccess = () => answer(request.result);
  });
  return (found ?? []).sort((a, b) => b.at - a.at);
}

/** Drops what this page has kept of a plan, or what another has. */
export function dropPlan(owner, id, page = PAGE) {
  return within("readwrite", (store) => store.delete([owner, id, page]));
}
