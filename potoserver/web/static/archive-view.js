import { DialogView } from "./dialog-view.js";
import { byId, el } from "./dom.js";
import { countWords, reasonWords, whenWords } from "./words.js";

/** An archived dialog, opened to read, with what can be done with it. */
export class ArchiveView {
  #bar = byId("archive-bar");
  #scroller;
  #actions;
  #archive = null;
  #view = null;
  #mayDelete = true;

  /**
   * @param {import("./scroller.js").Scroller} scroller
   * @param {object} actions `restore`, `rename`, `pin`, `exportOne`, `remove` of an archive, and `close`.
   */
  constructor(scroller, actions) {
    this.#scroller = scroller;
    this.#actions = actions;
  }

  /** The open one, or null. */
  get archive() {
    return this.#archive;
  }

  /** What shows its messages, or null. */
  get view() {
    return this.#view;
  }

  /** Shows an archive. @param {object} archive As `getArchive` answers. */
  show(archive) {
    this.close();
    this.#archive = archive;
    const container = el("div.messages", { id: "archived" });
    byId("messages").after(container);
    const entries = archive.messages.map((message, key) => ({ ...message, key, version: 0, state: "done", fault: null }));
    this.#view = new DialogView(container, this.#scroller);
    this.#view.show(entries);
    this.#showBar();
  }

  /** Changes title or pin of the open one. @param {object} changes */
  change(changes) {
    Object.assign(this.#archive, changes);
    this.#showBar();
  }

  /** Deleting is turned off: it is not offered any more. */
  forbidDelete() {
    this.#mayDelete = false;
    if (this.#archive) this.#showBar();
  }

  /** Brings a message into view. @param {string} messageId */
  reveal(messageId) {
    const element = this.#view.showMessage(messageId);
    if (!element) return;
    element.classList.add("found");
    element.tabIndex = -1;
    element.scrollIntoView({ block: "center" });
    element.focus({ preventScroll: true });
  }

  /** Shows none. */
  close() {
    this.#archive = null;
    this.#view = null;
    this.#bar.hidden = true;
    byId("archived")?.remove();
  }

  #showBar() {
    const { endedAt, reason, messages, pinned } = this.#archive;
    const said = `Archived ${whenWords(new Date(endedAt))}, ${reasonWords(reason)}. ${countWords(messages.length, "message")}.`;
    const button = (name, label, classes = ".quiet") =>
      el(`button${classes}`, { type: "button", name, onclick: () => this.#actions[name](this.#archive) }, label);
    const buttons = [
      button("restore", "Go on with it", ".primary"),
      button("rename", "Rename"),
      button("pin", pinned ? "Unpin" : "Pin"),
      button("exportOne", "Export"),
      this.#mayDelete ? button("remove", "Delete") : null,
      button("close", "Back"),
    ];
    const focused = this.#bar.contains(document.activeElement) ? document.activeElement.name : null;
    this.#bar.replaceChildren(el("p", {}, said), el("div.actions", {}, ...buttons));
    this.#bar.hidden = false;
    if (focused) buttons.find((each) => each?.name === focused)?.focus();
  }
}
