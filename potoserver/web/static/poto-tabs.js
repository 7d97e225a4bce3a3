import { EventStream } from "./poto-stream.js";

const KEPT_EVENTS = 256;
const ANSWER_MS = 3_000;

/** Whether this browser lets tabs share a stream. Locks are for secure pages only (HTTPS, localhost). */
export function canShare() {
  return Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);
}

/**
 * One event stream for all tabs of a group.
 *
 * Over HTTP/1.1 a browser opens six connections to a host, so the seventh tab with a stream of its own would hang. Here
 * the tab that holds a lock leads: it has the stream, and passes everything on by a BroadcastChannel. When it closes, the
 * lock goes to the next tab, which resumes after the last event that it has itself. Each event names the one before it,
 * so a tab that missed any notices, and asks the leader, who keeps the newest ones; what a tab has already it passes over.
 */
export class SharedStream {
  #name;
  #makeStream;
  #listener;
  #isSettled;
  #types;
  #channel = null;
  #stream = null;
  #release = null;
  #abort = null;
  #me = crypto.randomUUID();
  #recent = [];
  #connected = null;
  #state = null;
  #joined = false;
  #asked = false;
  #heardMs = 0;
  #silence = null;
  #leaseS;

  /**
   * @param {string} name Of the group: same name, same stream.
   * @param {object} server As `EventStream` takes it.
   * @param {number} leaseS As `EventStream` takes it.
   * @param {{event: Function, state: Function, settled: Function}} listener As `EventStream` takes it; told, too, from
   *   where a page that begins anew has to go on.
   * @param {Iterable<string>} types As `EventStream` takes it.
   * @param {() => boolean} isSettled Whether a tab that comes new needs nothing of what has come so far.
   */
  constructor(name, server, leaseS, listener, types, isSettled) {
    this.#name = name;
    this.#leaseS = leaseS;
    this.#listener = listener;
    this.#isSettled = isSettled;
    this.#types = new Set(types);
    this.#makeStream = () =>
      new EventStream(
        server,
        leaseS,
        {
          event: (event) => this.#fromServer(event),
          state: (state) => this.#setState(state),
          ping: () => this.#post({ kind: "beat" }),
        },
        this.#types,
      );
    this.lastId = null;
    /** From where a tab that begins anew has to go on. */
    this.resumeId = null;
  }

  /** Joins the group. @param {?string} lastId From which event on. */
  start(lastId) {
    this.lastId = this.resumeId = lastId;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.addEventListener("message", ({ data }) => this.#fromTab(data));
    this.#setState({ name: "connecting", retryAtMs: null, reason: null });
    this.#queue({});
    this.#hello();
    this.#heard();
    this.#silence = setInterval(() => this.#checkSilence(this.#leaseS * 1000), 5_000);
    document.addEventListener("visibilitychange", this.#shown);
  }

  /** Leaves it; the next tab takes over. */
  stop() {
    document.removeEventListener("visibilitychange", this.#shown);
    clearInterval(this.#silence);
    this.#abort?.abort();
    this.#stopLeading();
    this.#channel?.close();
    this.#channel = null;
  }

  /** Whether this tab has the stream. */
  get leads() {
    return this.#stream !== null;
  }

  /** Listens for a further type. @param {string} type */
  listen(type) {
    this.#types.add(type);
    this.#stream?.listen(type);
    this.#post({ kind: "listen", types: [type] });
  }

  /** Tries again at once, if the stream is waiting. */
  retryNow() {
    if (this.#stream) this.#stream.retryNow();
    else this.#post({ kind: "retry" });
  }

  // The lock

  #queue(options) {
    const abort = (this.#abort = new AbortController());
    const how = options.steal ? options : { signal: abort.signal };
    navigator.locks
      .request(this.#name, how, () => {
        if (abort.signal.aborted) return undefined;
        return new Promise((release) => {
          this.#release = release;
          this.#lead();
        });
      })
      .catch(() => {
        // Left, or another tab took the lock because this one did not answer: it was suspended.
        if (abort.signal.aborted) return;
        this.#stopLeading();
        this.#joined = false;
        this.#queue({});
        this.#hello();
      });
  }

  #lead() {
    this.#stream = this.#makeStream();
    this.#post({ kind: "leading" });
    this.#stream.start(this.lastId);
  }

  #stopLeading() {
    this.#stream?.stop();
    this.#stream = null;
    this.#release?.();
    this.#release = null;
  }

  #shown = () => {
    if (document.visibilityState !== "visible" || this.#stream) return;
    this.#hello();
    setTimeout(() => this.#checkSilence(ANSWER_MS), ANSWER_MS + 100);
  };

  /** A leader that its browser has put to sleep keeps the lock and says nothing: the lock is taken from it. */
  #checkSilence(limitMs) {
    if (this.#stream || !this.#channel || document.visibilityState !== "visible") return;
    if (Date.now() - this.#heardMs < limitMs) return;
    this.#heard();
    this.#abort.abort();
    this.#queue({ steal: true });
  }

  #heard() {
    this.#heardMs = Date.now();
  }

  // As leader

  #fromServer(event) {
    if (event.type === "connected") {
      this.#connected = event.data;
      if (event.data.gap || this.lastId === null) this.#beginAt(event.id);
      this.#post({ kind: "event", ...event });
      this.#listener.event(event);
      return;
    }
    const passed = { ...event, after: this.lastId };
    this.#post({ kind: "event", ...passed });
    this.#deliver(passed);
  }

  #setState(state) {
    this.#state = state;
    if (this.#stream) this.#post({ kind: "state", state });
    this.#listener.state(state);
  }

  #answer({ from, after, types }) {
    for (const type of types) this.#listenFor(type);
    const events = this.#eventsAfter(after ?? this.resumeId);
    const connected = this.#connected && { ...this.#connected, gap: events === null };
    this.#post({ kind: "welcome", to: from, state: this.#state, connected, events: events ?? [], lastId: this.lastId });
  }

  #listenFor(type) {
    this.#types.add(type);
    this.#stream?.listen(type);
  }

  // As follower

  #hello() {
    this.#post({ kind: "hello", from: this.#me, after: this.lastId, types: [...this.#types] });
  }

  #fromTab(message) {
    if (this.#stream) {
      if (message.kind === "hello") this.#answer(message);
      else if (message.kind === "retry") this.#stream.retryNow();
      else if (message.kind === "listen") message.types.forEach((type) => this.#listenFor(type));
      return;
    }
    if (message.kind === "listen") message.types.forEach((type) => this.#types.add(type));
    if (!["leading", "welcome", "state", "event", "beat"].includes(message.kind)) return;
    this.#heard();
    if (message.kind === "leading") this.#hello();
    else if (message.kind === "welcome" && message.to === this.#me) this.#welcomed(message);
    else if (message.kind === "state" && this.#joined) this.#setState(message.state);
    else if (message.kind === "event" && this.#joined) this.#followed(message);
  }

  #welcomed({ state, connected, events, lastId }) {
    const isNew = !this.#joined;
    this.#joined = true;
    this.#asked = false;
    this.#connected = connected;
    if (connected?.gap || (isNew && this.lastId === null)) this.#beginAt(events[0]?.after ?? lastId);
    if (connected && (isNew || connected.gap)) {
      this.#listener.event({ type: "connected", data: connected, id: this.lastId });
    }
    for (const event of events) this.#followed(event);
    this.#setState(state);
  }

  #followed({ type, data, id, after }) {
    if (type === "connected") {
      this.#connected = data;
      if (data.gap || this.lastId === null) this.#beginAt(id);
      this.#listener.event({ type, data, id });
    } else if (id === null) {
      this.#listener.event({ type, data, id });
    } else if (after === this.lastId) {
      this.#deliver({ type, data, id, after });
    } else if (id !== this.lastId && !this.#recent.some((each) => each.id === id) && !this.#asked) {
      this.#asked = true; // the answer brings this one, too
      this.#hello();
    }
  }

  // Both

  #deliver(event) {
    if (event.id !== null) {
      this.lastId = event.id;
      this.#recent.push(event);
      if (this.#recent.length > KEPT_EVENTS) this.#recent.shift();
    }
    this.#listener.event({ type: event.type, data: event.data, id: event.id });
    if (event.id !== null && this.#isSettled()) this.#settle(event.id);
  }

  #beginAt(id) {
    this.lastId = id;
    this.#recent = [];
    this.#settle(id);
  }

  #settle(id) {
    this.resumeId = id;
    this.#listener.settled(id);
  }

  /** The events behind an id; null when that is not known any more. */
  #eventsAfter(id) {
    // A new leader may not have got yet what another tab has from the one before: its own stream brings it.
    if (id === this.lastId || isBehind(this.lastId, id)) return [];
    const first = this.#recent.findIndex((event) => event.after === id);
    return first < 0 ? null : this.#recent.slice(first);
  }

  #post(message) {
    this.#channel?.postMessage(message);
  }
}

/** Whether an id is of the same log as another one and before it; see docs/protocol.md for their form. */
function isBehind(id, other) {
  if (id === null || other === null) return false;
  const [at, otherAt] = [id.lastIndexOf("-"), other.lastIndexOf("-")];
  return id.slice(0, at) === other.slice(0, otherAt) && Number(id.slice(at + 1)) < Number(other.slice(otherAt + 1));
}
