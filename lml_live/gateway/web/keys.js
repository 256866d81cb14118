/** A fresh idempotency key. Not `crypto.randomUUID`, which a page without https does not have. */
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
