/** So many entries are drawn at first, and more at a time: a few screens of them. */
const COUNT = 60;

/**
 * Which part of a long dialog is drawn: its newest entries, and as many of the earlier ones as somebody has asked for;
 * or those around a message that was looked for. It is kept by its entries' keys, so what comes before it, or behind it
 * when it reaches to the end, moves nothing.
 */
export class Part {
  #first = null;
  #last = null;

  /**
   * @param {{key: any}[]} entries All there are.
   * @returns {[number, number]} Where the part begins, and where it ends. Of another dialog it is the newest entries.
   */
  of(entries) {
    const indexOf = (key) => entries.findIndex((entry) => entry.key === key);
    let begin = indexOf(this.#first);
    let end = this.#last === null ? entries.length : indexOf(this.#last) + 1;
    if (begin < 0 || end === 0) begin = end = entries.length;
    return this.#keep(entries, Math.min(begin, end - COUNT), end);
  }

  /** Begins it earlier. */
  earlier(entries) {
    const [begin, end] = this.of(entries);
    this.#keep(entries, begin - COUNT, end);
  }

  /** Ends it later. */
  later(entries) {
    const [begin, end] = this.of(entries);
    this.#keep(entries, begin, end + COUNT);
  }

  /** Goes to the newest entries, unless they are in it. */
  newest(entries) {
    const [, end] = this.of(entries);
    if (end < entries.length) this.#keep(entries, entries.length - COUNT, entries.length);
  }

  /** Goes to the oldest ones, unless they are in it. */
  oldest(entries) {
    const [begin] = this.of(entries);
    if (begin > 0) this.#keep(entries, 0, COUNT);
  }

  /** Goes to where an entry is, unless that is in it. @param {number} index */
  around(entries, index) {
    const [begin, end] = this.of(entries);
    if (index < begin || index >= end) this.#keep(entries, index - COUNT / 2, index + COUNT / 2);
  }

  #keep(entries, from, to) {
    const begin = Math.max(0, from);
    const end = Math.min(entries.length, to);
    this.#first = entries[begin]?.key ?? null;
    this.#last = end < entries.length ? entries[end - 1].key : null;
    return [begin, end];
  }
}
