const FIRST_MS = 500;
const LONGEST_MS = 30_000;
const STEADY_MS = 10_000;

/**
 * How long to wait before the next try: twice as long each time, spread at random, so that not all clients of a server
 * that restarts come back in the same moment.
 */
export class Backoff {
  #tries = 0;
  #sinceMs = null;

  /** It works. Only when it has worked for a while does the next failure count as the first one again. */
  succeeded() {
    this.#sinceMs = Date.now();
  }

  /**
   * It failed.
   * @param {?number} hintMs How long the server asked to wait; null where it did not say.
   * @returns {number} Milliseconds until the next try.
   */
  failed(hintMs = null) {
    if (this.#sinceMs !== null && Date.now() - this.#sinceMs > STEADY_MS) this.#tries = 0;
    this.#sinceMs = null;
    const mostMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#tries);
    this.#tries += 1;
    if (hintMs !== null) return hintMs * (1 + Math.random() / 4);
    return mostMs * (0.5 + Math.random() / 2);
  }
}
