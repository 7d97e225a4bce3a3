import { PotoError } from "./poto-error.js";

const LINE_END = /\r\n|\n|\r/;
/** The largest event that is taken, in characters: without a limit, one that never ends would fill the memory. */
const MAX_LENGTH = 64 * 1024 * 1024;

/**
 * Takes an event stream apart that `EventSource` can't ask for, however its bytes are cut into chunks (HTML standard,
 * section 9.2.6). Ids and `retry` are passed over: the answer to a call is not resumed.
 */
export class EventParser {
  #decoder = new TextDecoder();
  #maxLength;
  #length = 0;
  #line = "";
  #skipsLineFeed = false;
  #type = "";
  #data = [];

  /** @param {number} [maxLength] Of one event. */
  constructor(maxLength = MAX_LENGTH) {
    this.#maxLength = maxLength;
  }

  /**
   * @param {Uint8Array} chunk The next bytes of the stream.
   * @returns {Iterable<{type: string, data: string}>} The events that end within them. Throws a PotoError at one that is
   *   larger than any may be.
   */
  *feed(chunk) {
    let text = this.#decoder.decode(chunk, { stream: true });
    if (text === "") return;
    if (this.#skipsLineFeed && text.startsWith("\n")) text = text.slice(1);
    this.#skipsLineFeed = text.endsWith("\r");
    const pieces = text.split(LINE_END);
    const rest = pieces.pop();
    for (const piece of pieces) {
      this.#grow(piece);
      const line = this.#line;
      this.#line = "";
      if (line !== "") this.#take(line);
      else if (this.#data.length) yield this.#ended();
      else this.#forget();
    }
    this.#grow(rest);
  }

  #grow(piece) {
    this.#length += piece.length;
    if (this.#length > this.#maxLength) throw PotoError.network(`An event of more than ${this.#maxLength} characters.`);
    this.#line += piece;
  }

  #take(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
  }

  #ended() {
    const event = { type: this.#type || "message", data: this.#data.join("\n") };
    this.#forget();
    return event;
  }

  #forget() {
    this.#type = "";
    this.#data = [];
    this.#length = 0;
  }
}
