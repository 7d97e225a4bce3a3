import { byId } from "./dom.js";

const DRAFT = "poto-draft";

/** The box to write in: Enter sends, Shift+Enter begins a new line; what was not sent is still there after a reload. */
export class Composer {
  #input = byId("message");
  #send = byId("send");
  #stop = byId("stop");
  #isGrowing = false;

  /** @param {{send: (text: string) => void, stop: () => void}} actions */
  constructor({ send, stop }) {
    const submit = () => {
      const text = this.#input.value;
      if (!text.trim()) return;
      this.set("");
      send(text);
    };
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    this.#input.addEventListener("keydown", (event) => {
      // An input method uses Enter to choose what it offers.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      submit();
    });
    this.#input.addEventListener("input", () => this.#changed());
    this.#stop.addEventListener("click", () => {
      stop();
      this.focus();
    });
    this.set(sessionStorage.getItem(DRAFT) ?? "");
  }

  /** Puts a text into the box. */
  set(text) {
    this.#input.value = text;
    this.#changed();
  }

  /** Puts the caret into the box. */
  focus() {
    this.#input.focus();
  }

  /** While a reply grows it can be stopped; who has written something can send that all the same. */
  setGrowing(isGrowing) {
    this.#isGrowing = isGrowing;
    this.#changed();
  }

  #changed() {
    const text = this.#input.value;
    if (text) sessionStorage.setItem(DRAFT, text);
    else sessionStorage.removeItem(DRAFT);
    const stops = this.#isGrowing && !text.trim();
    const hadFocus = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#send.hidden = stops;
    this.#stop.hidden = !stops;
    this.#send.disabled = !text.trim();
    if (hadFocus) this.focus();
    if (!CSS.supports("field-sizing", "content")) {
      this.#input.style.height = "auto";
      this.#input.style.height = `${this.#input.scrollHeight + 2}px`;
    }
  }
}
