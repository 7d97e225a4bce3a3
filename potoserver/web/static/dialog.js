/**
 * The current dialog: what was said, what is being said, what this tab is about to say.
 *
 * It hears of the same message by several ways (this tab's own call, the events, the conversation when it is loaded) and
 * keeps one entry of each: by the message's id, and until that is known by the request's. This page's own calls have the
 * request's id as their idempotency key, too, which a loaded question still has.
 */

/**
 * @typedef {object} Entry
 * @property {number} key Stays the same for the life of the entry.
 * @property {number} version Grows with each change.
 * @property {?string} id The message's.
 * @property {"user"|"assistant"} role
 * @property {string} content
 * @property {string} reasoning
 * @property {?string} timestamp
 * @property {?string} requestId Of the call that it belongs to.
 * @property {"sending"|"growing"|"done"} state `sending` is this tab's own message before the server has told of it.
 * @property {boolean} interrupted
 * @property {boolean} isPartial A growing reply whose beginning has not been seen.
 * @property {?Error} fault Why there is no reply.
 */
export class Dialog {
  #changed;
  #nextKey = 1;
  #arrived = null;
  #streamed = new Set();
  #awaited = new Set();

  /** @param {() => void} changed Told after each change. */
  constructor(changed) {
    this.#changed = changed;
    this.conversationId = null;
    /** @type {Entry[]} */
    this.entries = [];
  }

  /** Whether a reply is on its way. */
  get isGrowing() {
    return this.entries.some((entry) => entry.state === "growing" || (entry.state === "sending" && !entry.fault));
  }

  /** Whether what comes next can be understood without what came before: no question waits for its reply. */
  get isSettled() {
    return !this.#awaited.size && !this.entries.some((entry) => entry.state === "growing");
  }

  /** The first message's text; empty without one. */
  get subject() {
    return this.entries.find((entry) => entry.role === "user")?.content ?? this.entries[0]?.content ?? "";
  }

  // This tab's own calls

  /** A message is on its way to the server. */
  ask(requestId, content) {
    const before = this.#ofRequest("user", requestId);
    if (before) this.#change(before, { fault: null, state: before.id ? before.state : "sending" });
    else this.entries.push(this.#entry({ role: "user", content, requestId, state: "sending" }));
    this.#streamed.add(requestId);
    this.#changed();
  }

  /** A piece of its reply, on the call's own stream. */
  grow(requestId, { text = "", reasoning = "", restart = false }) {
    if (this.#ofRequest("assistant", requestId, "done")) return; // The event with all of it was faster.
    const entry = this.#growing({ requestId });
    const content = restart ? "" : entry.content + text;
    this.#change(entry, { content, reasoning: restart ? "" : entry.reasoning + reasoning, isPartial: false });
    const question = this.#ofRequest("user", requestId);
    if (question?.state === "sending") this.#change(question, { state: "done" });
    this.#changed();
  }

  /** The reply is whole. */
  answered(requestId, { conversationId, messageId, reply, reasoning, finishReason }) {
    this.#streamed.delete(requestId);
    this.#awaited.delete(requestId);
    this.#adopt(conversationId);
    const entry = this.#byId(messageId) ?? this.#growing({ requestId });
    const interrupted = ["stopped", "shutdown"].includes(finishReason);
    this.#finish(entry, { id: messageId, content: reply, reasoning: reasoning ?? "", interrupted, requestId });
    const question = this.#ofRequest("user", requestId);
    if (question) this.#change(question, { state: "done", fault: null });
    this.#changed();
  }

  /** The call has failed. */
  failed(requestId, fault) {
    this.#streamed.delete(requestId);
    this.#awaited.delete(requestId);
    this.#dropReply(requestId);
    const question = this.#ofRequest("user", requestId);
    if (question) this.#change(question, { fault });
    this.#changed();
  }

  /** Takes a message back that was not kept. @returns {string} Its text. */
  takeBack(entry) {
    this.entries = this.entries.filter((each) => each !== entry);
    this.#changed();
    return entry.content;
  }

  // Events

  /** `message`: a question or a whole reply. */
  onMessage({ conversationId, messageId, role, content, timestamp, interrupted, requestId }) {
    this.#adopt(conversationId);
    this.#arrived?.add(messageId);
    if (role === "user") {
      this.#awaited.add(requestId);
      const entry = this.#byId(messageId) ?? this.#ofRequest("user", requestId) ?? this.#insert({ role, content, requestId });
      this.#change(entry, { id: messageId, state: "done", content, timestamp, requestId });
    } else {
      this.#awaited.delete(requestId);
      const known = this.#byId(messageId) ?? this.#ofRequest("assistant", requestId, "growing");
      const entry = known ?? this.#insert({ role, content, requestId, id: messageId });
      this.#finish(entry, { id: messageId, content, timestamp, interrupted, requestId });
      const question = this.#ofRequest("user", requestId);
      if (question?.fault) this.#change(question, { fault: null });
    }
    this.#changed();
  }

  /** `delta`: a reply grows. This tab's own has its pieces from its call already. */
  onDelta({ conversationId, messageId, text, requestId }) {
    this.#adopt(conversationId);
    if (this.#streamed.has(requestId)) {
      const own = this.#growing({ requestId });
      if (own.id === null) this.#change(own, { id: messageId });
      return;
    }
    const known = this.#byId(messageId);
    if (known?.state === "done") return;
    const entry = known ?? this.#growing({ requestId, messageId });
    this.#arrived?.add(messageId);
    this.#change(entry, { content: entry.content + text });
    this.#changed();
  }

  /** `failed`: a reply will not come. */
  onFailed({ messageId, requestId }, fault) {
    this.#awaited.delete(requestId);
    this.entries = this.entries.filter((entry) => entry.id !== messageId || entry.state === "done");
    this.#dropReply(requestId);
    const question = this.#ofRequest("user", requestId);
    if (question && !this.#streamed.has(requestId)) this.#change(question, { fault });
    this.#changed();
  }

  /** `archived`: the dialog has ended. What is on its way belongs to the next one. */
  onArchived(conversationId) {
    if (conversationId !== this.conversationId) return;
    this.#begin(null);
    this.#changed();
  }

  // Loading

  /** Events may have been missed: what they would have told is not waited for. */
  missed() {
    this.#awaited.clear();
    this.entries = this.entries.filter((entry) => entry.state !== "growing" || this.#streamed.has(entry.requestId));
  }

  /** A load begins: what arrives until it is done is newer than what it brings, or the same. */
  loading() {
    this.#arrived = new Set();
  }

  /** What `getConversation` answered. */
  loaded({ conversationId, messages }) {
    const arrived = this.#arrived ?? new Set();
    this.#arrived = null;
    const isSame = conversationId === this.conversationId;
    if (!isSame && arrived.size) return; // Another one has begun meanwhile: its events are all there is of it.
    this.conversationId = conversationId;
    const known = new Map(this.entries.map((entry) => [entry.id, entry]));
    const kept = messages.map((message) => {
      const { id, role, content, timestamp, interrupted, reasoning, idempotencyKey = null } = message;
      const entry = known.get(id) ?? this.#ofRequest(role, idempotencyKey) ?? this.#entry({ role });
      this.#change(entry, { id, content, timestamp, interrupted, reasoning: reasoning ?? "", state: "done" });
      return entry;
    });
    const isKept = new Set(kept);
    const rest = this.entries.filter((entry) => {
      if (isKept.has(entry)) return false;
      return arrived.has(entry.id) || entry.id === null || (isSame && entry.state === "growing");
    });
    this.entries = [...kept, ...rest];
    this.#changed();
  }

  // Inside

  #adopt(conversationId) {
    if (conversationId === this.conversationId) return;
    if (this.conversationId !== null) this.#begin(conversationId);
    this.conversationId = conversationId;
  }

  #begin(conversationId) {
    this.conversationId = conversationId;
    this.entries = this.entries.filter((entry) => entry.state === "sending" && !entry.id);
  }

  #entry(given) {
    return {
      ...{ key: this.#nextKey++, version: 0, id: null, content: "", reasoning: "", timestamp: null, requestId: null },
      ...{ state: "done", interrupted: false, isPartial: false, fault: null },
      ...given,
    };
  }

  #change(entry, changes) {
    Object.assign(entry, changes);
    entry.version += 1;
  }

  #finish(entry, changes) {
    this.#change(entry, { ...changes, state: "done", isPartial: false });
    // The own call, an event and a load may each have made one before they knew of each other.
    const isSame = (each) => each.id === entry.id || (each.state === "growing" && each.requestId === entry.requestId);
    this.entries = this.entries.filter((each) => each === entry || !isSame(each));
  }

  #byId(id) {
    return this.entries.find((entry) => entry.id === id);
  }

  #ofRequest(role, requestId, state = null) {
    if (requestId === null) return undefined;
    return this.entries.find(
      (entry) => entry.role === role && entry.requestId === requestId && (state === null || entry.state === state),
    );
  }

  #growing({ requestId, messageId = null }) {
    const known = this.#ofRequest("assistant", requestId, "growing");
    if (known) return known;
    const isPartial = !this.#ofRequest("user", requestId);
    return this.#insert({ role: "assistant", requestId, id: messageId, state: "growing", isPartial });
  }

  /** Behind its question, or before what has not been sent yet. */
  #insert(given) {
    const entry = this.#entry(given);
    const question = given.role === "assistant" ? this.#ofRequest("user", given.requestId) : undefined;
    let at = question ? this.entries.indexOf(question) + 1 : this.entries.findIndex((each) => each.state === "sending");
    if (at < 0) at = this.entries.length;
    this.entries.splice(at, 0, entry);
    return entry;
  }

  #dropReply(requestId) {
    const reply = this.#ofRequest("assistant", requestId, "growing");
    if (reply) this.entries = this.entries.filter((entry) => entry !== reply);
  }
}
