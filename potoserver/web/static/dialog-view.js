import { el } from "./dom.js";
import { setText } from "./live-list.js";
import { showMarkdown } from "./markdown-dom.js";
import { Part } from "./part.js";
import { dayWords, errorWords, timeWords } from "./words.js";

/**
 * Shows entries of a dialog, each in an element of its own that changes with it. Of a long one only a part is drawn; more
 * follows as one comes near its edge, or by the button that stands there.
 */
export class DialogView {
  #container;
  #scroller;
  #actions;
  #entries = [];
  #part = new Part();
  #shown = new Map();
  #order = "";
  #earlier = beyond("Show earlier messages", () => this.#showEarlier());
  #later = beyond("Show later messages", () => this.#showLater());

  /**
   * @param {HTMLElement} container
   * @param {import("./scroller.js").Scroller} scroller Of what the container scrolls in.
   * @param {{retry?: Function, takeBack?: Function}} actions What can be done about a message that failed.
   */
  constructor(container, scroller, actions = {}) {
    this.#container = container;
    this.#scroller = scroller;
    this.#actions = actions;
    container.append(this.#earlier, this.#later);
    scroller.whenNear(this.#earlier, () => this.#showEarlier());
    scroller.whenNear(this.#later, () => this.#showLater());
  }

  /** @param {import("./dialog.js").Entry[]} entries */
  show(entries) {
    this.#entries = entries;
    const [begin, end] = this.#part.of(entries);
    this.#earlier.hidden = begin === 0;
    this.#later.hidden = end === entries.length;
    this.#draw(entries.slice(begin, end));
  }

  /** Has the newest messages drawn. */
  showNewest() {
    this.#part.newest(this.#entries);
    this.show(this.#entries);
  }

  /** Has the oldest messages drawn. */
  showOldest() {
    this.#part.oldest(this.#entries);
    this.show(this.#entries);
  }

  /** Whether there are messages before those that are drawn. */
  get hasEarlier() {
    return !this.#earlier.hidden;
  }

  /** Whether there are messages behind those that are drawn. */
  get hasLater() {
    return !this.#later.hidden;
  }

  /** Has a message drawn. @param {string} id @returns {?HTMLElement} Its element; null if there is no such message. */
  showMessage(id) {
    const index = this.#entries.findIndex((entry) => entry.id === id);
    if (index < 0) return null;
    this.#part.around(this.#entries, index);
    this.show(this.#entries);
    return this.#shown.get(this.#entries[index].key).element;
  }

  #showEarlier() {
    const hasFocus = document.activeElement === this.#earlier;
    const first = this.#earlier.nextElementSibling;
    this.#part.earlier(this.#entries);
    this.#scroller.keep(first.querySelector(".body"), () => this.show(this.#entries));
    if (hasFocus) focus(first.previousElementSibling);
  }

  #showLater() {
    const hasFocus = document.activeElement === this.#later;
    const last = this.#later.previousElementSibling;
    this.#part.later(this.#entries);
    this.#scroller.keep(last, () => this.show(this.#entries));
    if (hasFocus) focus(last.nextElementSibling);
  }

  #draw(entries) {
    const kept = new Set(entries.map((entry) => entry.key));
    for (const [key, { element }] of this.#shown) {
      if (kept.has(key)) continue;
      element.remove();
      this.#shown.delete(key);
    }
    let day = new Date().toDateString();
    for (const entry of entries) {
      const shown = this.#shown.get(entry.key) ?? this.#make(entry);
      if (shown.version !== entry.version) this.#update(shown, entry);
      this.#showDay(shown, entry, shown.date !== null && shown.date !== day);
      day = shown.date ?? day;
    }
    this.#arrange(entries);
  }

  /** Most changes are of one entry's text: then nothing is moved, however long the dialog is. */
  #arrange(entries) {
    const order = entries.map((entry) => entry.key).join();
    if (order === this.#order) return;
    this.#order = order;
    let next = this.#earlier.nextElementSibling;
    for (const { key } of entries) {
      const { element } = this.#shown.get(key);
      if (element === next) next = next.nextElementSibling;
      else this.#container.insertBefore(element, next);
    }
  }

  #make(entry) {
    const isUser = entry.role === "user";
    const body = el(isUser ? "div.body" : "div.body.markdown");
    const reasoning = isUser ? null : el("details.muted", { hidden: true }, el("summary", {}, "Reasoning"), el("p"));
    const meta = el("div.meta");
    const fault = el("div.fault", { hidden: true, role: "group", "aria-label": "This message failed" });
    const speaker = el("h2.hidden", {}, isUser ? "You" : "Reply");
    const day = el("p.day", { hidden: true });
    const element = el(`article.message.${isUser ? "user" : "assistant"}`, {}, day, speaker, reasoning, body, meta, fault);
    const shown = { element, day, body, reasoning, meta, fault, version: -1, date: null };
    this.#shown.set(entry.key, shown);
    return shown;
  }

  #update(shown, entry) {
    shown.version = entry.version;
    shown.date = entry.timestamp && new Date(entry.timestamp).toDateString();
    const { element, body, reasoning, meta, fault } = shown;
    if (entry.id) element.dataset.message = entry.id;
    element.classList.toggle("growing", entry.state === "growing");
    if (entry.role === "user") body.textContent = entry.content;
    else showMarkdown(body, entry.isPartial ? `… ${entry.content}` : entry.content);
    if (reasoning) {
      reasoning.hidden = !entry.reasoning;
      reasoning.lastElementChild.textContent = entry.reasoning;
    }
    meta.replaceChildren(...this.#about(entry));
    fault.hidden = !entry.fault;
    if (entry.fault) fault.replaceChildren(...this.#faultNodes(entry));
  }

  /** The first message of a day says of which, unless all of it is of today. */
  #showDay({ day }, { timestamp }, isFirst) {
    day.hidden = !isFirst;
    if (isFirst) setText(day, dayWords(new Date(timestamp)));
  }

  #about(entry) {
    if (entry.fault) return [];
    if (entry.state === "sending") return [el("span", {}, "Sending…")];
    if (entry.state === "growing") return [el("span", {}, "Writing…")];
    const nodes = [];
    if (entry.timestamp) {
      const date = new Date(entry.timestamp);
      nodes.push(el("time", { dateTime: entry.timestamp, title: date.toLocaleString() }, timeWords(date)));
    }
    if (entry.interrupted) nodes.push(el("span", {}, "stopped before its end"));
    return nodes;
  }

  #faultNodes(entry) {
    const retry = el("button.quiet", { type: "button", onclick: () => this.#actions.retry(entry) }, "Try again");
    const takeBack = el(
      "button.quiet",
      { type: "button", onclick: () => this.#actions.takeBack(entry) },
      "Edit the message",
    );
    // What is on disk already can't be taken back. Nor can somebody else's call be repeated.
    const buttons = [this.#actions.canRetry(entry) ? retry : null, entry.id ? null : takeBack];
    return [el("p", {}, errorWords(entry.fault)), el("div.row", {}, ...buttons)];
  }
}

/** What leads to messages that are not drawn. */
function beyond(label, action) {
  return el("button.quiet.beyond", { type: "button", hidden: true, onclick: action }, label);
}

/** Who used the button goes on where its messages join those that were there: the button is out of sight now. */
function focus(message) {
  message.tabIndex = -1;
  message.focus({ preventScroll: true });
}
