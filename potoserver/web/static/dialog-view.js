import { el } from "./dom.js";
import { showMarkdown } from "./markdown-dom.js";
import { errorWords, timeWords } from "./words.js";

/** Shows entries of a dialog, each in an element of its own that changes with it. */
export class DialogView {
  #container;
  #actions;
  #shown = new Map();
  #order = "";

  /**
   * @param {HTMLElement} container
   * @param {{retry?: Function, takeBack?: Function}} actions What can be done about a message that failed.
   */
  constructor(container, actions = {}) {
    this.#container = container;
    this.#actions = actions;
  }

  /** @param {import("./dialog.js").Entry[]} entries */
  show(entries) {
    const kept = new Set(entries.map((entry) => entry.key));
    for (const [key, { element }] of this.#shown) {
      if (kept.has(key)) continue;
      element.remove();
      this.#shown.delete(key);
    }
    for (const entry of entries) {
      const shown = this.#shown.get(entry.key) ?? this.#make(entry);
      if (shown.version !== entry.version) this.#update(shown, entry);
    }
    this.#arrange(entries);
  }

  /** Most changes are of one entry's text: then nothing is moved, however long the dialog is. */
  #arrange(entries) {
    const order = entries.map((entry) => entry.key).join();
    if (order === this.#order) return;
    this.#order = order;
    let next = this.#container.firstElementChild;
    for (const { key } of entries) {
      const { element } = this.#shown.get(key);
      if (element === next) next = next.nextElementSibling;
      else this.#container.insertBefore(element, next);
    }
  }

  /** @param {string} id Of a message. @returns {?HTMLElement} */
  find(id) {
    return [...this.#container.children].find((element) => element.dataset.message === id) ?? null;
  }

  #make(entry) {
    const isUser = entry.role === "user";
    const body = el(isUser ? "div.body" : "div.body.markdown");
    const reasoning = isUser ? null : el("details.muted", { hidden: true }, el("summary", {}, "Reasoning"), el("p"));
    const meta = el("div.meta");
    const fault = el("div.fault", { hidden: true, role: "group", "aria-label": "This message failed" });
    const speaker = el("h2.hidden", {}, isUser ? "You" : "Reply");
    const element = el(`article.message.${isUser ? "user" : "assistant"}`, {}, speaker, reasoning, body, meta, fault);
    const shown = { element, body, reasoning, meta, fault, version: -1 };
    this.#shown.set(entry.key, shown);
    return shown;
  }

  #update(shown, entry) {
    shown.version = entry.version;
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
