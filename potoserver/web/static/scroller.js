const NEAR_PX = 48;

/** Keeps the newest in view, but only for who is there already: who reads further up is left in peace. */
export class Scroller {
  #scroll;
  #button;
  #isAtEnd = true;

  /** @param {HTMLElement} scroll What scrolls. @param {HTMLElement} button Leads to the newest. */
  constructor(scroll, button) {
    this.#scroll = scroll;
    this.#button = button;
    scroll.addEventListener("scroll", () => {
      this.#isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
      if (this.#isAtEnd) button.hidden = true;
    });
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.follow()).observe(scroll);
  }

  /** Something has grown. */
  follow() {
    if (this.#isAtEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
    else this.#button.hidden = this.#scroll.scrollHeight <= this.#scroll.clientHeight;
  }

  /** Goes to the newest. */
  toEnd() {
    this.#isAtEnd = true;
    this.#button.hidden = true;
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  /** Shows something else from its beginning. */
  toStart() {
    this.#isAtEnd = false;
    this.#button.hidden = true;
    this.#scroll.scrollTop = 0;
  }
}
