import { byId } from "./dom.js";

const NEAR_PX = 48;

/** Keeps the newest in view, but only for who is there already: who reads further up is left in peace. */
export class Scroller {
  #scroll = byId("scroll");
  #oldest = byId("oldest");
  #newest = byId("newest");
  #view;
  #isAtEnd = true;

  /** @param {() => import("./dialog-view.js").DialogView} view What is seen. */
  constructor(view) {
    this.#view = view;
    const leave = (go) => () => {
      go();
      this.#scroll.focus({ preventScroll: true }); // The button is gone.
    };
    this.#scroll.addEventListener("scroll", () => this.#look());
    this.#scroll.addEventListener("keydown", (event) => this.#key(event));
    this.#oldest.addEventListener("click", leave(() => this.toStart()));
    this.#newest.addEventListener("click", leave(() => this.toEnd()));
    new ResizeObserver(() => this.follow()).observe(this.#scroll);
  }

  /** Something has grown. */
  follow() {
    if (this.#isAtEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#look();
  }

  /** Goes to the newest. */
  toEnd() {
    this.#view().showNewest();
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#look();
  }

  /** Goes to the oldest. */
  toStart() {
    this.#view().showOldest();
    this.#scroll.scrollTop = 0;
    this.#look();
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
    const { hasEarlier, hasLater } = this.#view();
    this.#isAtEnd = !hasLater && scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#newest.hidden = this.#isAtEnd;
    this.#oldest.hidden = this.#isAtEnd || !hasEarlier;
  }

  /** What a browser makes of these keys ends where the part that is drawn does. */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target !== this.#scroll && !event.target.matches(".message")) return;
    if (event.key === "Home") this.toStart();
    else if (event.key === "End") this.toEnd();
    else return;
    event.preventDefault();
  }
}
