import { announce } from "./announce.js";
import { crossIcon, el } from "./dom.js";

/** What happened, in words, above the dialog, with what can be done about it. */
export class Notices {
  #container;
  #shown = new Map();

  #left;

  /**
   * @param {HTMLElement} container
   * @param {() => void} left Told when a person is done with a notice: the focus that was in it needs a place.
   */
  constructor(container, left) {
    this.#container = container;
    this.#left = left;
  }

  /**
   * @param {string} key A notice with the same key takes the place of the one before.
   * @param {string} text
   * @param {[string, () => any][]} actions Label and what it does; the notice goes when one is chosen.
   */
  show(key, text, actions = []) {
    this.hide(key);
    const leave = (action) => () => {
      this.hide(key);
      this.#left();
      action?.();
    };
    const element = el(
      "div.notice",
      { role: "group", "aria-label": "Notice" },
      el("p", {}, text),
      el(
        "div.row",
        {},
        ...actions.map(([label, action]) => el("button.quiet.go", { type: "button", onclick: leave(action) }, label)),
      ),
      el("button.icon", { type: "button", "aria-label": "Dismiss", onclick: leave(null) }, crossIcon()),
    );
    this.#shown.set(key, element);
    this.#container.append(element);
    announce(text);
  }

  /** @param {string} key */
  hide(key) {
    this.#shown.get(key)?.remove();
    this.#shown.delete(key);
  }
}
