import { Backoff } from "./poto-backoff.js";

/** The server says something every five seconds; when it has said nothing for so long, the line is dead. */
const SILENT_MS = 15_000;

/**
 * @typedef {object} WatchState How a watch is.
 * @property {"off"|"connecting"|"live"|"reconnecting"|"refused"} name `refused`: trying again would change nothing.
 * @property {?number} [retryAtMs] While reconnecting: when the next try is.
 * @property {Error} [error] Why it is not live.
 */

/** Follows an endless call (docs/protocol.md), and begins it again when it was cut off. */
export class Watch {
  #method;
  #onItem;
  #onState;
  #args = {};
  #stopper = null;

  /**
   * @param {Function} method Of `client.module(…)`.
   * @param {(item: object) => void} onItem
   * @param {(state: WatchState) => void} onState
   */
  constructor(method, onItem, onState) {
    this.#method = method;
    this.#onItem = onItem;
    this.#onState = onState;
  }

  /** Begins, or begins anew with other arguments. @param {object} args */
  start(args) {
    this.#stopper?.abort();
    this.#args = args;
    this.#stopper = new AbortController();
    this.#run(this.#stopper.signal);
  }

  stop() {
    this.#stopper?.abort();
    this.#stopper = null;
    this.#onState({ name: "off" });
  }

  /** While it waits for the next try: tries now. */
  retryNow() {
    if (this.#stopper) this.start(this.#args);
  }

  async #run(stopped) {
    const backoff = new Backoff();
    this.#onState({ name: "connecting" });
    while (!stopped.aborted) {
      const error = await this.#follow(stopped, backoff);
      if (stopped.aborted) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        this.#onState({ name: "refused", error });
        return;
      }
      const waitMs = backoff.failed(error.retryAfterS ? error.retryAfterS * 1000 : null);
      this.#onState({ name: "reconnecting", retryAtMs: Date.now() + waitMs, error });
      await pause(waitMs, stopped);
    }
  }

  /** One stream, from its beginning to its end. @returns {Promise<Error>} Why it ended. */
  async #follow(stopped, backoff) {
    const silent = new AbortController();
    const reply = this.#method.stream(this.#args, { signal: AbortSignal.any([stopped, silent.signal]) });
    let timer = null;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENT_MS);
    };
    heard();
    let isLive = false;
    try {
      for await (const item of reply) {
        if (stopped.aborted) break;
        heard();
        if (!isLive) {
          isLive = true;
          backoff.succeeded();
          this.#onState({ name: "live" });
        }
        this.#onItem(item);
      }
      await reply.result;
      return new Error("The server ended the stream.");
    } catch (error) {
      return error;
    } finally {
      clearTimeout(timer);
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
