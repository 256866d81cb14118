/**
 * Plans that are not saved yet, kept in this browser: what a reload or a crash would lose, and a file on its way from the
 * list to the editor. A few of them only, and none where storage is forbidden.
 */

import { randomKey } from "./keys.js";

const DATABASE = "lml.plans";
const STORE = "unsaved";
export const KEPT_MAX = 5;
/** Which page has kept a plan: what another tab has not saved is not this one's to drop. */
const PAGE = randomKey();

/** @returns {Promise<IDBDatabase|null>} */
function open() {
  return new Promise((resolve) => {
    let request;
    try {
      request = indexedDB.open(DATABASE, 1);
    } catch {
      resolve(null);
      return;
    }
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
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

/** @param {{text: string, base: string|null, why: string, notes?: string[]}} what `base` is the hash that it was drawn on */
export function keepPlan(id, what) {
  return within("readwrite", (store) => {
    store.put({ id, at: Date.now(), page: PAGE, ...what });
    const all = store.getAllKeys();
    all.onsuccess = () => {
      if (all.result.length <= KEPT_MAX) return;
      const times = [];
      const walk = store.openCursor();
      walk.onsuccess = () => {
        const cursor = walk.result;
        if (cursor) {
          times.push([cursor.value.at, cursor.key]);
          cursor.continue();
        } else {
          times.sort((a, b) => b[0] - a[0]);
          for (const [, key] of times.slice(KEPT_MAX)) store.delete(key);
        }
      };
    };
  });
}

/** @returns {Promise<{text: string, base: string|null, why: string, at: number, notes?: string[]}|null>} */
export function keptPlan(id) {
  return within("readonly", (store, answer) => {
    const request = store.get(id);
    request.onsuccess = () => answer(request.result ?? null);
  });
}

/** Drops what this page has kept, or whatever is kept, where somebody said so. */
export function dropPlan(id, { anybodys = false } = {}) {
  return within("readwrite", (store) => {
    const request = store.get(id);
    request.onsuccess = () => {
      if (anybodys || request.result?.page === PAGE) store.delete(id);
    };
  });
}
