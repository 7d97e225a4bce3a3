import { bytesWords, clockWords, durationWords, waitWords } from "./admin-words.js";
import { el } from "./dom.js";
import { LiveList, setText } from "./live-list.js";
import { countWords } from "./words.js";

const COLUMNS = [
  ["userId", "User"],
  ["waitingFor", "State"],
  ["since", "Since"],
  ["lastActivity", "Last activity"],
  ["count", "Connections"],
];
const DOTS = { grace: "warn", reply: "busy", archive: "warn", adoption: "warn", timeout: "idle" };

/** The table of sessions and connections: it can be sorted, and each row opened to see its connections. */
export class PeopleTable {
  #table;
  #list;
  #names;
  #clock;
  #actions;
  #sorted = { column: "since", isDown: true };
  #headers = new Map();
  #people = [];

  /**
   * @param {HTMLTableElement} table
   * @param {import("./nodes.js").NodeNames} names
   * @param {{now: () => number}} clock The server's time.
   * @param {{end: Function, drop: Function, leave: Function}} actions
   */
  constructor(table, names, clock, actions) {
    this.#table = table;
    this.#names = names;
    this.#clock = clock;
    this.#actions = actions;
    this.#list = new LiveList(table, (person) => this.#row(person), actions.leave);
    this.#head();
  }

  /** @param {import("./people.js").Person[]} people */
  show(people) {
    this.#people = people;
    const { column, isDown } = this.#sorted;
    const sorted = people.toSorted((one, other) => compare(one[column], other[column]) || compare(one.key, other.key));
    if (isDown) sorted.reverse();
    // Nothing jumps away under the pointer.
    this.#list.show(sorted, this.#table.matches(":has(tbody:hover)"));
    this.#table.hidden = !people.length;
  }

  tick() {
    this.#list.tick();
  }

  #head() {
    const cells = COLUMNS.map(([column, name]) => {
      const button = el("button", { type: "button", onclick: () => this.#sort(column) }, name, el("span.arrow", { "aria-hidden": "true" }));
      const cell = el("th", { scope: "col", role: "columnheader" }, button);
      this.#headers.set(column, cell);
      return cell;
    });
    const actions = el("th", { scope: "col", role: "columnheader" }, el("span.hidden", {}, "Actions"));
    this.#table.tHead.append(el("tr", { role: "row" }, ...cells, actions));
    this.#showOrder();
  }

  #sort(column) {
    const { column: before, isDown } = this.#sorted;
    this.#sorted = { column, isDown: column === before ? !isDown : column !== "userId" };
    this.#showOrder();
    this.show(this.#people);
  }

  #showOrder() {
    for (const [column, cell] of this.#headers) {
      if (column === this.#sorted.column) cell.setAttribute("aria-sort", this.#sorted.isDown ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  #row(person) {
    const row = new Row(person, this.#names, this.#clock, this.#actions);
    return { element: row.element, update: (item) => row.update(item), tick: () => row.tick() };
  }
}

/** One person: a row, and below it, when it is open, the connections. */
class Row {
  #person;
  #names;
  #clock;
  #actions;
  #cells = {};
  #detail;
  #connections;

  constructor(person, names, clock, actions) {
    this.#names = names;
    this.#clock = clock;
    this.#actions = actions;
    const id = `connections-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    const cell = (name, label, ...children) => {
      this.#cells[name] = el(`td.${name}`, { role: "cell", "data-label": label }, ...children);
      return this.#cells[name];
    };
    this.user = el("span.name", {}, person.userId);
    this.conversation = el("span.id", {});
    this.node = el("span.id", {});
    this.dot = el("span.dot", { "aria-hidden": "true" });
    this.wait = el("span", {});
    this.left = el("span.left", {});
    this.more = el("span.more", {});
    this.since = el("span", {});
    this.activity = el("span", {});
    this.open = el("button.quiet.open", { type: "button", "aria-expanded": "false", "aria-controls": id, onclick: () => this.#toggle() });
    this.end = el("button.plain.small", { type: "button", onclick: () => actions.end(this.#person) }, "End session");
    const main = el(
      "tr",
      { role: "row" },
      cell("user", "User", this.user, this.conversation, this.node),
      cell("wait", "State", el("span.line", {}, this.dot, this.wait, this.left), this.more),
      cell("since", "Since", this.since),
      cell("activity", "Last activity", this.activity),
      cell("count", "Connections", this.open),
      cell("actions", "", this.end),
    );
    const list = el("ul", { role: "list", "aria-label": `Connections of ${person.userId}` });
    this.#detail = el("tr.detail", { id, role: "row", hidden: true }, el("td", { role: "cell", colSpan: 6 }, list));
    this.#connections = new LiveList(list, (connection) => this.#connection(connection), () => this.open.focus());
    this.element = el("tbody", { role: "rowgroup" }, main, this.#detail);
  }

  update(person) {
    this.#person = person;
    const { session, waitingFor, connections, count } = person;
    setText(this.conversation, session ? session.conversationId : "no session");
    setText(this.node, this.#names.on(session?.node, ""));
    this.dot.className = `dot ${waitingFor === null ? "good" : DOTS[waitingFor]}`;
    setText(this.wait, waitWords(waitingFor));
    setText(this.more, session?.detail ?? "");
    setText(this.open, count === 0 ? "none" : String(count));
    this.open.setAttribute("aria-disabled", String(count === 0)); // A button that is disabled would lose the focus.
    this.open.setAttribute("aria-label", `${countWords(count, "connection")} of ${person.userId}`);
    if (!session?.isActive && this.end === document.activeElement) this.open.focus();
    this.end.hidden = !session?.isActive;
    this.end.setAttribute("aria-label", `End the session of ${person.userId}`);
    this.element.classList.toggle("ended", Boolean(session) && !session.isActive);
    if (!count && !this.#detail.hidden) this.#toggle();
    if (!this.#detail.hidden) this.#connections.show(connections.map((each) => ({ ...each, key: each.id })));
    this.tick();
  }

  tick() {
    const { since, lastActivity, waitingFor, waitingUntil } = this.#person;
    const now = this.#clock.now();
    setText(this.since, durationWords(now - Date.parse(since)));
    this.since.title = clockWords(since);
    setText(this.activity, lastActivity ? `${durationWords(now - Date.parse(lastActivity))} ago` : "–");
    const leftMs = waitingUntil ? Date.parse(waitingUntil) - now : null;
    const left = waitingFor === "reply" ? "at most" : "left"; // A reply ends when it ends.
    setText(this.left, leftMs === null || leftMs < 0 ? "" : `${durationWords(leftMs)} ${left}`);
    this.#connections.tick();
  }

  #toggle() {
    if (!this.#person.count && this.#detail.hidden) return;
    if (this.#detail.contains(document.activeElement)) this.open.focus();
    this.#detail.hidden = !this.#detail.hidden;
    this.open.setAttribute("aria-expanded", String(!this.#detail.hidden));
    if (!this.#detail.hidden) this.update(this.#person);
  }

  #connection(connection) {
    const age = el("span", {});
    const facts = el("span.muted", {});
    const drop = el(
      "button.plain.small",
      { type: "button", "aria-label": `Drop the connection ${connection.id}`, onclick: () => this.#actions.drop(connection) },
      "Drop",
    );
    const element = el("li", {}, el("span.id", {}, connection.id), age, facts, drop);
    const tick = () => setText(age, `open for ${durationWords(this.#clock.now() - Date.parse(connection.since))}`);
    const update = (now) => {
      const lease = now.leaseS ? `lease of ${now.leaseS} s` : "no lease";
      const waiting = now.waitingBytes ? `, ${bytesWords(now.waitingBytes)} not taken yet` : "";
      setText(facts, `${lease}, at event ${now.lastEventId ?? "–"}${waiting}${this.#names.on(now.node)}`);
      tick();
    };
    return { element, update, tick };
  }
}

function compare(one, other) {
  if (one === other) return 0;
  if (one === null || one === undefined) return -1;
  if (other === null || other === undefined) return 1;
  return one < other ? -1 : 1;
}
