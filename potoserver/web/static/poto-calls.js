import { Backoff } from "./poto-backoff.js";
import { PotoError } from "./poto-error.js";
import { EventParser } from "./poto-events.js";

const TRIES = 6;

/**
 * @typedef {object} CallOptions
 * @property {string} [idempotencyKey] Of the call; without one, a new one. The same key again means the same call: the
 *   server adds nothing and gives the first answer. Only methods that say so look at it (`chatWithHistory`).
 * @property {string} [requestId] Names the call in the server's log and in the events that it leads to.
 * @property {boolean} [retry] Whether to make the call again, with the same key, when the network or the server was away.
 *   For reads, and for methods that look at the key.
 * @property {AbortSignal} [signal] Ends the waiting; what the call began goes on at the server.
 */

/** @returns {string} A new key or id: 32 hexadecimal digits. Works on pages that are not secure, too. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Makes calls.
 *
 * @param {(path: string, init: RequestInit) => Promise<Response>} send Sends one request, with who asks.
 */
export class Caller {
  #send;

  constructor(send) {
    this.#send = send;
  }

  /** Calls for one result. @returns {Promise<any>} */
  async result(path, args, options = {}) {
    return this.#trying(options, async (headers) => (await this.#post(path, args, headers, options.signal)).json());
  }

  /** Calls for a file. @returns {Promise<{name: string, blob: Blob}>} It is whole, or there is an error. */
  async file(path, args, options = {}) {
    return this.#trying(options, async (headers) => {
      const response = await this.#post(path, args, headers, options.signal);
      const named = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "");
      return { name: named ? named[1] : "download", blob: await response.blob() };
    });
  }

  /** Calls for a reply that streams. @returns {Reply} */
  stream(path, args, options = {}) {
    return new Reply((onDelta) => {
      let hasBegun = false;
      return this.#trying(options, async (headers) => {
        if (hasBegun) onDelta({ restart: true });
        hasBegun = false;
        const response = await this.#post(path, args, { ...headers, Accept: "text/event-stream" }, options.signal);
        for await (const { type, data } of events(response.body)) {
          if (type === "delta") {
            hasBegun = true;
            onDelta(JSON.parse(data));
          } else if (type === "done") {
            return JSON.parse(data);
          } else if (type === "error") {
            throw new PotoError(JSON.parse(data));
          }
        }
        throw PotoError.network("The reply was cut off.");
      });
    });
  }

  async #post(path, args, headers, signal) {
    const response = await this.#send(path, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify(args ?? {}),
      signal,
    });
    if (!response.ok) throw await PotoError.of(response);
    return response;
  }

  async #trying({ idempotencyKey = newKey(), requestId, retry = false, signal }, attempt) {
    const headers = { "Idempotency-Key": idempotencyKey, ...(requestId && { "X-Request-ID": requestId }) };
    const backoff = new Backoff();
    for (let tries = 1; ; tries += 1) {
      try {
        return await attempt(headers);
      } catch (thrown) {
        if (signal?.aborted) throw thrown;
        const error = thrown instanceof PotoError ? thrown : PotoError.network("The server could not be reached.");
        if (!retry || !error.passes || tries === TRIES) throw error;
        await pause(backoff.failed(error.retryAfterS === null ? null : error.retryAfterS * 1000), signal);
      }
    }
  }
}

/**
 * A reply on its way: iterate over its pieces with `for await`, then await `result`. Or only one of the two.
 *
 * When the connection was cut in the middle of it and the call repeated, the reply comes from its beginning again, after a piece
 * `{restart: true}`: forget what came before it.
 */
export class Reply {
  #waiting = [];
  #wake = () => {};
  #over = false;

  /** @param {(onDelta: (delta: object) => void) => Promise<any>} run */
  constructor(run) {
    /** @type {Promise<any>} What the call answers in the end; rejects with a PotoError. */
    this.result = run((delta) => {
      this.#waiting.push(delta);
      this.#wake();
    });
    const end = () => {
      this.#over = true;
      this.#wake();
    };
    this.result.then(end, end);
  }

  /** The pieces as they come. Ends with the reply; that it failed, `result` tells. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#waiting.length) yield this.#waiting.shift();
      if (this.#over) return;
      await new Promise((wake) => {
        this.#wake = wake;
      });
    }
  }
}

/** The events of a stream that was asked for by POST. */
async function* events(body) {
  const reader = body.getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
