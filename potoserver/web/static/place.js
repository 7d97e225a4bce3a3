/** Of a browser's six connections to a server over HTTP/1.1, a page that watches takes two. */
const PLACES = 2;
const NAME = "poto-operations";

/**
 * Sees to it that no more than two of the browser's tabs watch at a time, so that connections are left for calls: those
 * that were looked at last. A tab that nobody looks at gives its place up.
 */
export class Place {
  #onHeld;
  #release = null;
  #turn = 0;

  /** @param {(held: boolean) => void} onHeld Told each time that this tab has got a place, or has lost it. */
  constructor(onHeld) {
    this.#onHeld = onHeld;
  }

  /** From now on this tab has a place while it is looked at. */
  begin() {
    document.addEventListener("visibilitychange", this.#looked);
    this.#looked();
  }

  end() {
    document.removeEventListener("visibilitychange", this.#looked);
    this.leave();
  }

  #looked = () => (document.hidden ? this.leave() : this.take());

  /** Takes a place; one of another tab's, if none is free. */
  async take() {
    if (this.#release) return;
    const turn = (this.#turn += 1);
    if (!navigator.locks) {
      this.#hold();
      return;
    }
    for (let place = 0; place < PLACES; place += 1) {
      if (await this.#request(turn, place, { ifAvailable: true })) return;
    }
    this.#request(turn, Math.floor(Math.random() * PLACES), { steal: true });
  }

  /** Gives it up. */
  leave() {
    this.#turn += 1;
    const release = this.#release;
    this.#release = null;
    if (!release) return;
    release();
    this.#onHeld(false);
  }

  /** @returns {Promise<boolean>} Whether the place is this tab's now, or need not be any more. */
  #request(turn, place, options) {
    return new Promise((resolve) => {
      const held = navigator.locks.request(`${NAME}-${place}`, options, (lock) => {
        const isOver = turn !== this.#turn;
        resolve(isOver || lock !== null);
        return isOver || lock === null ? null : this.#hold();
      });
      held.catch(() => {
        if (turn !== this.#turn) return;
        this.#release = null; // Another tab took it.
        this.#onHeld(false);
      });
    });
  }

  /** @returns {Promise<void>} Settles when the place is given up. */
  #hold() {
    const held = new Promise((resolve) => {
      this.#release = resolve;
    });
    this.#onHeld(true);
    return held;
  }
}
