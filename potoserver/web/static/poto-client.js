/**
 * The client library: any page may import it.
 *
 * ```js
 * import { PotoClient } from "/static/poto-client.js";
 *
 * const client = new PotoClient();
 * await client.login("test-token");
 * client.on("message", (message) => console.log(message.role, message.content));
 * client.watch((state) => console.log(state.name));
 * await client.connect();
 * const answer = await client.module("ChatServerModule").chatWithHistory({ message: "Hello!" }, { retry: true });
 * ```
 *
 * docs/clients.md tells how to use it, docs/protocol.md what it speaks.
 */
import { Caller, Reply, newKey } from "./poto-calls.js";
import { PotoError } from "./poto-error.js";
import { EventStream } from "./poto-stream.js";
import { SharedStream, canShare } from "./poto-tabs.js";

export { PotoError, Reply, newKey };

const LEASE_S = 90;

/**
 * @typedef {object} State How the event stream is.
 * @property {"connecting"|"connected"|"reconnecting"|"signed-out"|"gone"} name `gone` is before `connect` and after
 *   `close`; `signed-out` is when the server knows the login or the token not, or not any more.
 * @property {?number} retryAtMs While reconnecting: when the next try is (as `Date.now()` counts).
 * @property {?string} reason Why the server said it is not there for now, e.g. `shutdown`, `too-many-connections`.
 */

/** A connection to a server: its events, and calls of its modules' methods. */
export class PotoClient {
  #url;
  #token;
  #leaseS;
  #share;
  #resumeKey;
  #isSettled;
  #onLogin;
  #caller;
  #stream = null;
  #listeners = new Map();
  #watchers = new Set();
  #state = { name: "gone", retryAtMs: null, reason: null };
  #logins;
  #wanted = false;

  /**
   * @param {object} [options]
   * @param {string} [options.url] The server; without it, the one that this page came from.
   * @param {?(string|(() => string|Promise<string>))} [options.token] A bearer token, or what gives one each time that it
   *   is needed. Without it, the cookie of a login is used, which only the server's own pages have.
   * @param {number} [options.leaseS] After how many seconds without a sign of life the server gives this client up.
   * @param {?string} [options.share] Tabs that give the same name share one stream. Without it: tabs of one login do, tabs
   *   with a token don't. "" shares nothing.
   * @param {?string} [options.resumeKey] Under which the place in the stream is kept in `sessionStorage`, so that a page
   *   that is loaded again goes on from there.
   * @param {() => boolean} [options.isSettled] Asked after each event: whether a page that begins anew needs nothing of
   *   the events so far. From the latest such place a page that is loaded again goes on.
   * @param {(user: ?string) => void} [options.onLogin] Told when somebody has signed in or out in another tab.
   */
  constructor({
    url = location.origin,
    token = null,
    leaseS = LEASE_S,
    share = null,
    resumeKey = null,
    isSettled = () => true,
    onLogin = () => {},
  } = {}) {
    this.#url = url.replace(/\/$/, "");
    this.#token = token;
    this.#leaseS = leaseS;
    this.#share = share;
    this.#resumeKey = resumeKey;
    this.#isSettled = isSettled;
    this.#onLogin = onLogin;
    this.#caller = new Caller((path, init) => this.#send(path, init));
    if (token === null && globalThis.BroadcastChannel) {
      this.#logins = new BroadcastChannel(`poto-logins ${this.#url}`);
      this.#logins.addEventListener("message", ({ data }) => this.#onLogin(data.user));
    }
  }

  // Who it is

  /** @returns {Promise<{user: ?string, name: string, roles: string[], developmentTokens: object[]}>} Who is signed in. */
  async whoami() {
    return this.#json("/whoami", { method: "GET" });
  }

  /** Signs in with a token, by a cookie that scripts can't see. @param {string} token @returns {Promise<object>} Who. */
  async login(token) {
    const who = await this.#json("/login", { method: "POST", body: JSON.stringify({ token }) });
    this.#logins?.postMessage({ user: who.user });
    return who;
  }

  /** Signs out, in all tabs. */
  async logout() {
    await this.#json("/logout", { method: "POST" });
    this.close();
    this.#forget();
    this.#logins?.postMessage({ user: null });
  }

  // Events

  /**
   * Connects, and stays connected until `close`.
   * @param {object} [options]
   * @param {?string} [options.lastEventId] From which event on; without it from where this page left off, else from now.
   * @returns {Promise<void>} Done when it is connected: no event from then on is missed. Or when nobody is signed in.
   */
  async connect({ lastEventId = null } = {}) {
    await this.#start(lastEventId);
    await new Promise((resolve) => {
      const leave = this.watch(({ name }) => {
        if (name === "connecting" || name === "reconnecting") return;
        resolve();
        queueMicrotask(() => leave());
      });
    });
  }

  async #start(lastEventId) {
    this.#stop();
    this.#wanted = true;
    this.#setState({ name: "connecting", retryAtMs: null, reason: null });
    let share = this.#share;
    if (share === null && this.#token === null && canShare()) {
      try {
        share = (await this.whoami()).user;
        if (share === null) this.#setState({ name: "signed-out", retryAtMs: null, reason: null });
      } catch {
        share = ""; // The network; the stream will tell. So this tab has one of its own.
      }
      if (!this.#wanted || this.#stream || share === null) return;
    }
    const server = {
      address: (id, leaseS) => this.#address(id, leaseS),
      acknowledge: (connection, id) => this.#acknowledge(connection, id),
      isSignedIn: async () => (await this.whoami()).user !== null,
    };
    const shares = Boolean(share) && canShare();
    const listener = {
      event: (event) => {
        this.#received(event);
        if (!shares && this.#isSettled()) this.#remember(this.lastEventId);
      },
      state: (state) => this.#setState(state),
      settled: (id) => this.#remember(id),
      ping: () => {},
    };
    const types = this.#listeners.keys();
    if (shares) {
      const name = `poto ${this.#url} ${share}`;
      this.#stream = new SharedStream(name, server, this.#leaseS, listener, types, this.#isSettled);
    } else {
      this.#stream = new EventStream(server, this.#leaseS, listener, types);
    }
    addEventListener("online", this.#retry);
    addEventListener("pagehide", this.#hidden);
    addEventListener("pageshow", this.#shownAgain);
    this.#stream.start(lastEventId ?? this.#remembered());
  }

  /** Ends the stream. */
  close() {
    this.#stop();
    this.#setState({ name: "gone", retryAtMs: null, reason: null });
  }

  /** While it waits for the next try: tries now. */
  retryNow() {
    this.#stream?.retryNow();
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** @returns {boolean} Whether this tab has the stream itself, alone or for the others. */
  get leads() {
    return this.#stream instanceof EventStream || Boolean(this.#stream?.leads);
  }

  /** @returns {?string} The id of the last event that this page has got. */
  get lastEventId() {
    return this.#stream?.lastId ?? null;
  }

  /**
   * Listens for events of a type (docs/protocol.md has those of the core and of the chat).
   * @param {string} type
   * @param {(data: any, id: ?string) => void} listener
   * @returns {() => void} Takes the listener away.
   */
  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    this.#stream?.listen(type);
    return () => this.#listeners.get(type).delete(listener);
  }

  /**
   * Follows the state: told at once, and at each change.
   * @param {(state: State) => void} watcher
   * @returns {() => void} Takes the watcher away.
   */
  watch(watcher) {
    this.#watchers.add(watcher);
    watcher(this.#state);
    return () => this.#watchers.delete(watcher);
  }

  // Calls

  /**
   * A module's methods: `client.module("ChatServerModule").getConversation()`.
   *
   * Each takes an object of arguments and `CallOptions`, and gives a promise of the result. `method.stream(…)` gives a
   * `Reply`, whose pieces can be iterated over; `method.file(…)` a file.
   *
   * @param {string} name
   * @returns {Object<string, Function>}
   */
  module(name) {
    const caller = this.#caller;
    return new Proxy(
      {},
      {
        get(_target, method) {
          // Who awaits a module by mistake must not call its method `then`.
          if (typeof method !== "string" || method === "then") return undefined;
          const path = `/${encodeURIComponent(name)}/${encodeURIComponent(method)}`;
          const call = (args, options) => caller.result(path, args, options);
          call.stream = (args, options) => caller.stream(path, args, options);
          call.file = (args, options) => caller.file(path, args, options);
          return call;
        },
      },
    );
  }

  // Inside

  async #send(path, { headers = {}, ...init }) {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return fetch(this.#url + path, {
      ...init,
      cache: "no-store",
      credentials: token === null ? "same-origin" : "omit",
      headers: token === null ? headers : { ...headers, Authorization: `Bearer ${token}` },
    });
  }

  async #json(path, init) {
    let response;
    try {
      response = await this.#send(path, { ...init, headers: init.body ? { "Content-Type": "application/json" } : {} });
    } catch {
      throw PotoError.network("The server could not be reached.");
    }
    if (!response.ok) throw await PotoError.of(response);
    return response.status === 204 ? null : response.json();
  }

  async #address(lastEventId, leaseS) {
    const query = new URLSearchParams({ lease: leaseS });
    if (lastEventId !== null) query.set("lastEventId", lastEventId);
    if (this.#token !== null) {
      // One for each connection: a ticket that was used is forgotten when the server restarts.
      query.set("ticket", (await this.#json("/subscribe/ticket", { method: "POST" })).ticket);
    } else if ((await this.whoami()).user === null) {
      // Asked first, since an EventSource can't tell this refusal from any other.
      throw new PotoError({ status: 401, title: "Signed out" });
    }
    return `${this.#url}/subscribe?${query}`;
  }

  async #acknowledge(connection, lastEventId) {
    try {
      const body = JSON.stringify({ connection, lastEventId });
      await this.#json("/subscribe/ack", { method: "POST", body });
    } catch (error) {
      if (error.status === 404) return false;
      throw error;
    }
    return true;
  }

  #received({ type, data, id }) {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        listener(data, id);
      } catch (error) {
        reportError(error); // One listener's fault is its own.
      }
    }
  }

  #setState(state) {
    if (state.name === this.#state.name && state.retryAtMs === this.#state.retryAtMs) return;
    this.#state = state;
    for (const watcher of this.#watchers) watcher(state);
  }

  #retry = () => this.retryNow();

  /** A page that a browser puts aside, to show it again when the user comes back, must not hold the stream. */
  #hidden = (event) => {
    this.#stream?.stop();
    if (!event.persisted) this.#stream = null;
  };

  #shownAgain = (event) => {
    if (event.persisted && this.#wanted) this.connect({ lastEventId: this.lastEventId });
  };

  #stop() {
    this.#wanted = false;
    removeEventListener("online", this.#retry);
    removeEventListener("pagehide", this.#hidden);
    this.#stream?.stop();
    this.#stream = null;
  }

  #remember(id) {
    if (this.#resumeKey !== null && id !== null) sessionStorage.setItem(this.#resumeKey, id);
  }

  #remembered() {
    return this.#resumeKey === null ? null : sessionStorage.getItem(this.#resumeKey);
  }

  #forget() {
    if (this.#resumeKey !== null) sessionStorage.removeItem(this.#resumeKey);
  }
}
