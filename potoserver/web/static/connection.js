import { announce } from "./announce.js";
import { el } from "./dom.js";
import { unavailableWords } from "./words.js";

const TICK_MS = 500;
const QUIET_MS = 1_000;

/** Says how the connection is, always, and when the next try is. */
export class ConnectionView {
  #element;
  #client;
  #timer = null;
  #said = null;
  #sayTimer = null;

  constructor(element, client) {
    this.#element = element;
    this.#client = client;
    client.watch((state) => this.#show(state));
  }

  #show(state) {
    clearInterval(this.#timer);
    const [kind, text] = words(state);
    const label = el("span", {}, text);
    this.#element.dataset.state = state.name;
    this.#element.replaceChildren(el(`span.dot.${kind}`, { "aria-hidden": "true" }), label);
    if (state.name === "reconnecting") {
      const count = () => {
        const leftS = Math.max(0, Math.ceil((state.retryAtMs - Date.now()) / 1000));
        label.textContent = leftS > 0 ? `Reconnecting in ${leftS} s` : "Reconnecting…";
      };
      count();
      this.#timer = setInterval(count, TICK_MS);
      label.before(el("span.reason", {}, `${unavailableWords(state.reason)}.`));
      this.#element.append(el("button.quiet", { type: "button", onclick: () => this.#client.retryNow() }, "Try now"));
    }
    this.#say(state);
  }

  /** Only what lasts is said aloud, and the first "connected" goes without saying. */
  #say(state) {
    clearTimeout(this.#sayTimer);
    const text = state.name === "reconnecting" ? `${unavailableWords(state.reason)}. Reconnecting.` : words(state)[1];
    this.#sayTimer = setTimeout(() => {
      if (this.#said === null && state.name === "connecting") return;
      if (state.name !== (this.#said ?? "connected")) announce(text);
      this.#said = state.name;
    }, QUIET_MS);
  }
}

function words({ name }) {
  return {
    connecting: ["warn", "Connecting…"],
    connected: ["good", "Connected"],
    reconnecting: ["warn", "Reconnecting…"],
    "signed-out": ["bad", "Signed out"],
    gone: ["bad", "Not connected"],
  }[name];
}
