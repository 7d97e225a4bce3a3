/** Elements that stand for what changes all the time: each is kept and brought up to date, none is made anew. */
export class LiveList {
  #container;
  #make;
  #leave;
  #shown = new Map();

  /**
   * @param {HTMLElement} container Whatever else it holds stays before these.
   * @param {(item: object) => {element: HTMLElement, update: (item: object) => void, tick?: () => void}} make
   * @param {() => void} [leave] Told when the focus was in an element that is gone.
   */
  constructor(container, make, leave = () => {}) {
    this.#container = container;
    this.#make = make;
    this.#leave = leave;
  }

  /**
   * @param {{key: string}[]} items In the order in which to stand.
   * @param {boolean} [isHeld] Whether what is there keeps its place, since somebody is about to press something in it.
   */
  show(items, isHeld = false) {
    const keys = new Set(items.map(({ key }) => key));
    let hadFocus = false;
    for (const [key, { element }] of this.#shown) {
      if (keys.has(key)) continue;
      hadFocus ||= element.contains(document.activeElement);
      element.remove();
      this.#shown.delete(key);
    }
    for (const item of items) {
      if (!this.#shown.has(item.key)) this.#shown.set(item.key, this.#make(item));
      this.#shown.get(item.key).update(item);
    }
    const elements = items.map(({ key }) => this.#shown.get(key).element);
    if (isHeld) this.#container.append(...elements.filter((element) => !element.isConnected));
    else this.#order(elements);
    if (hadFocus) this.#leave();
  }

  /** Brings up to date what changes with time alone. */
  tick() {
    for (const { tick } of this.#shown.values()) tick?.();
  }

  /** An element with the focus is not moved, the others are moved around it: moved, it would lose the focus. */
  #order(elements) {
    const there = [...this.#container.children].slice(-elements.length || Infinity);
    if (there.length === elements.length && elements.every((element, index) => element === there[index])) return;
    const fixed = elements.findIndex((element) => element.contains(document.activeElement));
    if (fixed === -1) {
      this.#container.append(...elements);
      return;
    }
    elements[fixed].before(...elements.slice(0, fixed));
    elements[fixed].after(...elements.slice(fixed + 1));
  }
}

/** Sets a text if it is another one: what is selected, or read aloud, is not disturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
