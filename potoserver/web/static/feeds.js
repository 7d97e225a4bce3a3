/** The lists beside the table: what is wrong, what was archived, what modules do not take. */
import { alarmWords, causeWords, clockWords, durationWords, endWords } from "./admin-words.js";
import { el } from "./dom.js";
import { LiveList, setText } from "./live-list.js";
import { countWords } from "./words.js";

const KEPT = 100;

/** What is wrong now; or that nothing is. */
export class Alarms {
  #list;
  #well = el("p.well", {}, el("span.dot.good", { "aria-hidden": "true" }), "Nothing is wrong.");
  #stopping = el("p.alarm", { role: "status" }, el("strong", {}, "The server is stopping."));

  constructor(container, names, clock) {
    const list = el("ul", { role: "list" });
    container.append(this.#stopping, this.#well, list);
    this.#list = new LiveList(list, (alarm) => alarmElement(alarm, names, clock));
    this.#stopping.hidden = this.#well.hidden = true; // Nobody has told yet.
  }

  /** @param {object} view Of `Operations/watch`. */
  show({ alarms, draining }) {
    this.#stopping.hidden = !draining;
    this.#well.hidden = draining || alarms.length > 0;
    this.#list.show(alarms.map((alarm) => ({ ...alarm, key: `${alarm.name} ${alarm.node}` })));
  }

  tick() {
    this.#list.tick();
  }
}

function alarmElement({ name, since, ofOneClient, node }, names, clock) {
  const times = el("span.muted", {});
  const words = alarmWords(name);
  const element = el(
    `li.alarm${ofOneClient ? ".mild" : ""}`,
    {},
    el("strong", {}, name),
    words ? el("span", {}, words) : null,
    times,
  );
  const met = (count) => (count === 1 ? "met once" : `met ${count} times`);
  const aside = ofOneClient ? ", felt by that client alone" : "";
  let count = 0;
  const tick = () =>
    setText(times, `for ${durationWords(clock.now() - Date.parse(since))}, ${met(count)}${aside}${names.on(node)}`);
  const update = (alarm) => {
    count = alarm.times;
    tick();
  };
  return { element, update, tick };
}

/** The dialogs as they are archived, the newest first. */
export class ArchivedFeed {
  #archives = [];
  #list;
  #nothing;

  constructor(container, nothing) {
    this.#list = new LiveList(container, archivedElement);
    this.#nothing = nothing;
  }

  /** @param {object} item Of `watchSessions`. */
  take({ snapshot, archived }) {
    if (snapshot) this.#archives = [];
    const newest = archived.map((each) => ({ ...each, key: `${each.userId} ${each.archiveId}` })).reverse();
    this.#archives = [...newest, ...this.#archives].slice(0, KEPT);
    this.#list.show(this.#archives);
    this.#nothing.hidden = this.#archives.length > 0;
  }
}

function archivedElement({ userId, archiveId, conversationId, reason, cause, endedAt, messageCount }) {
  const count = messageCount === null ? "" : `, ${countWords(messageCount, "message")}`;
  const element = el(
    "li",
    { title: `${archiveId}, conversation ${conversationId}` },
    el("p.line", {}, el("span.name", {}, userId), el("time", { dateTime: endedAt }, clockWords(endedAt))),
    el("p.muted", {}, el("span.tag", {}, reason), ` ${endWords(reason, cause)}${count}`),
  );
  return { element, update: () => {} };
}

/** Departures that modules do not take: those that are repeated, then those that were given up. */
export class HookFeed {
  #list;
  #count;
  #nothing;

  constructor(container, count, nothing, names, clock) {
    this.#list = new LiveList(container, (hook) => hookElement(hook, names, clock));
    this.#count = count;
    this.#nothing = nothing;
  }

  /** @param {object} hooks Of `Operations/watch`. */
  show({ failing, parked, failingCount, parkedCount }) {
    const key = (hook, kind) => ({ ...hook, key: `${kind} ${hook.module} ${hook.departure}` });
    this.#list.show([...failing.map((hook) => key(hook, "failing")), ...parked.map((hook) => key(hook, "parked"))]);
    const isWell = failingCount + parkedCount === 0;
    this.#nothing.hidden = !isWell;
    setText(this.#count, isWell ? "" : `${failingCount} failing, ${parkedCount} parked`);
  }

  tick() {
    this.#list.tick();
  }
}

function hookElement(hook, names, clock) {
  const isParked = "at" in hook;
  const state = el("p.muted", {});
  const error = el("p.fault", {});
  const element = el(
    "li",
    { title: `departure ${hook.departure}: ${causeWords(hook.cause)}` },
    el("p.line", {}, el("span.name", {}, hook.module), el(`span.tag.${isParked ? "bad" : "warn"}`, {}, isParked ? "parked" : "failing")),
    state,
    error,
  );
  let now = hook;
  const tick = () => {
    if (isParked) {
      setText(state, `${now.userId} left and it was never told; given up at ${clockWords(now.at)}${names.on(now.node, " ")}: ${now.why}`);
      return;
    }
    const nextMs = Date.parse(now.nextTry) - clock.now();
    const next = nextMs > 500 ? `next try in ${durationWords(nextMs)}` : "being tried";
    const behind = now.waiting ? `, ${now.waiting} more wait behind it` : "";
    setText(state, `${now.userId} left; tried ${countWords(now.tries, "time")} since ${clockWords(now.since)}, ${next}${behind}${names.on(now.node)}`);
  };
  const update = (item) => {
    now = item;
    setText(error, item.error);
    tick();
  };
  return { element, update, tick };
}
