import { Backoff } from "./poto-backoff.js";

/** Events that every stream listens for: the server speaks of the stream itself in them. */
const OWN_TYPES = ["connected", "ping", "shutdown", "unavailable"];

/** How long after its first answer the server is asked again, while the browser says that it is offline. */
const DOUBT_MS = 2000;

/**
 * One event stream that is kept open: leases, resuming, reconnecting.
 *
 * An `EventSource` reconnects by itself, but gives up for good on any answer but 200, says neither why nor when it
 * tries again, and does not notice a network that has gone silent. So each one here serves a single connection, and
 * what comes after it is decided here; the id of the last event stands in the next one's address.
 *
 * States (see `PotoClient.watch`): `connecting`, `connected`, `reconnecting`, `signed-out`, `gone`.
 */
export class EventStream {
  #server;
  #leaseS;
  #listener;
  #types;
  #source = null;
  #timer = null;
  #watch = null;
  #doubtTimer = null;
  #backoff = new Backoff();
  #hintMs = null;
  #reason = null;
  #heardMs = 0;
  #connection = null;
  #round = 0;

  /**
   * @param {object} server Whom it speaks with.
   * @param {(lastEventId: ?string, leaseS: number) => Promise<string>} server.address Where to connect; rejects with
   *   status 401 when nobody is signed in.
   * @param {() => Promise<boolean>} server.isSignedIn Asked after a refusal, which an EventSource can't tell from others.
   * @param {(connection: string, lastEventId: ?string) => Promise<boolean>} server.acknowledge Answers a ping; false
   *   when there is no such connection any more.
   * @param {number} leaseS See docs/protocol.md.
   * @param {{event: Function, state: Function, ping: Function}} listener Told of events `{type, data, id}` (`id` null
   *   for what is not of the log), of states, and of pings.
   * @param {Iterable<string>} types Which types to listen for; more by `listen`.
   */
  constructor(server, leaseS, listener, types = []) {
    this.#server = server;
    this.#leaseS = leaseS;
    this.#listener = listener;
    this.#types = new Set([...OWN_TYPES, ...types]);
    this.lastId = null;
  }

  /** Connects. @param {?string} lastId From which event on; null for what comes from now on. */
  start(lastId) {
    this.lastId = lastId;
    addEventListener("offline", this.#wentOffline);
    this.#tell({ name: "connecting" });
    this.#connect();
  }

  /** Ends it. */
  stop() {
    removeEventListener("offline", this.#wentOffline);
    this.#drop();
    clearTimeout(this.#timer);
    this.#round += 1;
  }

  /** Listens for a further type. @param {string} type */
  listen(type) {
    if (this.#types.has(type)) return;
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#received);
  }

  /** Tries again at once, if it is waiting. */
  retryNow() {
    if (this.#timer === null) return;
    this.#connect();
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#hintMs = null;
    const round = (this.#round += 1);
    let url;
    try {
      url = await this.#server.address(this.lastId, this.#leaseS);
    } catch (error) {
      if (round === this.#round) this.#failed(error);
      return;
    }
    if (round !== this.#round) return;
    const source = (this.#source = new EventSource(url));
    for (const type of this.#types) source.addEventListener(type, this.#received);
    source.addEventListener("error", () => {
      if (source === this.#source) this.#lost(source.readyState === EventSource.CLOSED);
    });
  }

  /** Of the current source alone: `#drop` closes it before there is another one. */
  #received = (event) => {
    this.#heardMs = Date.now();
    const data = event.data ? JSON.parse(event.data) : null;
    switch (event.type) {
      case "connected":
        this.#connected(data, event.lastEventId);
        return;
      case "ping":
        this.#listener.ping();
        this.#acknowledge();
        return;
      case "unavailable":
      case "shutdown":
        this.#hintMs = data.retryAfterMs;
        this.#reason = data.reason ?? "shutdown";
        break;
    }
    // An event without an id of its own still shows the id of the one before it.
    const id = event.lastEventId && event.lastEventId !== this.lastId ? event.lastEventId : null;
    if (id !== null) this.lastId = id;
    this.#listener.event({ type: event.type, data, id });
  };

  #connected(data, id) {
    this.#connection = data.connection;
    this.#reason = null;
    this.#backoff.succeeded();
    this.lastId = id;
    clearInterval(this.#watch);
    this.#watch = setInterval(() => this.#checkSilence(), this.#leaseS * 100);
    this.#listener.event({ type: "connected", data, id });
    this.#tell({ name: "connected" });
    if (!navigator.onLine) this.#doubt();
  }

  /** Pings come three times in a lease. When more than two are missing, the network is gone, though nobody said so. */
  #checkSilence() {
    if (Date.now() - this.#heardMs > (this.#leaseS * 1000 * 5) / 6) this.#lost(false);
  }

  /** The browser has lost a network, perhaps not the one to the server. The stream may not end for long after that. */
  #wentOffline = () => this.#doubt();

  /** Asks whether the server is there, and again while the browser is offline: an answer may have been on its way. */
  async #doubt(pauseMs = DOUBT_MS) {
    if (this.#connection === null) return;
    const round = this.#round;
    await this.#acknowledge({ isDoubted: true });
    if (round !== this.#round) return;
    clearTimeout(this.#doubtTimer);
    this.#doubtTimer = setTimeout(() => {
      // In the end as often as pings come, and no more: it may stay offline for hours, beside a server that is here.
      if (!navigator.onLine) this.#doubt(Math.min(2 * pauseMs, (this.#leaseS * 1000) / 3));
    }, pauseMs);
  }

  async #acknowledge({ isDoubted = false } = {}) {
    const round = this.#round;
    let known;
    try {
      known = await this.#server.acknowledge(this.#connection, this.lastId);
    } catch (error) {
      // Else there are two more pings in the lease, and the stream itself tells of its end.
      known = !(isDoubted && error.status === 0);
    }
    if (!known && round === this.#round) this.#lost(false);
  }

  async #lost(refused) {
    this.#drop();
    const round = (this.#round += 1);
    if (refused) {
      try {
        if (!(await this.#server.isSignedIn())) {
          if (round === this.#round) this.#tell({ name: "signed-out" });
          return;
        }
      } catch {
        // It was the network, then.
      }
      if (round !== this.#round) return;
    }
    this.#retry(null);
  }

  #failed(error) {
    if (error.status === 401) this.#tell({ name: "signed-out" });
    else this.#retry(error.retryAfterS ? error.retryAfterS * 1000 : null);
  }

  #retry(hintMs) {
    const waitMs = this.#backoff.failed(this.#hintMs ?? hintMs);
    this.#timer = setTimeout(() => this.#connect(), waitMs);
    this.#tell({ name: "reconnecting", retryAtMs: Date.now() + waitMs, reason: this.#reason });
  }

  #drop() {
    clearInterval(this.#watch);
    clearTimeout(this.#doubtTimer);
    this.#source?.close();
    this.#source = null;
    this.#connection = null;
  }

  #tell(state) {
    this.#listener.state({ retryAtMs: null, reason: null, ...state });
  }
}
