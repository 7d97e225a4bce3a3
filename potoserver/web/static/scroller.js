const NEAR_PX = 48;

/** Keeps the newest in view, but only for who is there already: who reads further up is left in peace. */
export class Scroller {
  #scroll;
  #button;
  #showNewest;
  #isAtEnd = true;

  /**
   * @param {HTMLElement} scroll What scrolls.
   * @param {HTMLElement} button Leads to the newest.
   * @param {() => void} showNewest Has it drawn.
   */
  constructor(scroll, button, showNewest) {
    this.#scroll = scroll;
    this.#button = button;
    this.#showNewest = showNewest;
    scroll.addEventListener("scroll", () => this.#look());
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
    this.#showNewest();
    this.#isAtEnd = true;
    this.#button.hidden = true;
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  /** Makes a change around an element, and keeps that in its place. @param {Element} element @param {() => void} change */
  keep(element, change) {
    const before = element.getBoundingClientRect().top;
    change();
    this.#scroll.scrollTop += element.getBoundingClientRect().top - before;
    this.#look();
  }

  /** Does something each time that an element comes within a screen of what is seen. */
  whenNear(element, action) {
    const observer = new IntersectionObserver(
      (seen) => {
        if (!seen.at(-1).isIntersecting) return;
        action();
        // Observed anew it is told of again, should it still be near.
        observer.unobserve(element);
        observer.observe(element);
      },
      { root: this.#scroll, rootMargin: "100% 0px" },
    );
    observer.observe(element);
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#button.hidden = this.#isAtEnd;
  }
}
