import { announce } from "./announce.js";
import { byId, el } from "./dom.js";
import { SearchFilters } from "./filters.js";
import { countWords, dayWords, errorWords, momentWords } from "./words.js";

const PAGE = 30;
const TYPING_MS = 250;
/** The server bounds what it reads for one page of a search: so many pages without a match are asked for in a row. */
const EMPTY_PAGES = 20;

/** The list of archived dialogs, and the search in them. */
export class ArchiveList {
  #chat;
  #open;
  #lists = byId("lists");
  #words = byId("words");
  #filters = new SearchFilters(() => this.refresh());
  #round = 0;
  #timer = null;
  #openId = null;
  #openMessage = null;

  /**
   * @param {object} chat The chat module's methods.
   * @param {(id: string, messageId: ?string) => void} open Opens an archive, at a message.
   */
  constructor(chat, open) {
    this.#chat = chat;
    this.#open = open;
    const form = byId("search");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.refresh();
    });
    for (const type of ["input", "change"]) {
      form.addEventListener(type, () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.refresh(), TYPING_MS);
      });
    }
    this.#words.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#words.value) return;
      event.stopPropagation();
      this.#words.value = "";
      this.refresh();
    });
  }

  /** Shows which one is open, and of its matches which one led there. @param {?string} id @param {?string} messageId */
  mark(id, messageId = null) {
    this.#openId = id;
    this.#openMessage = messageId;
    for (const entry of this.#lists.querySelectorAll(".entry")) this.#markEntry(entry);
  }

  /** Asks anew for what is shown. */
  async refresh() {
    clearTimeout(this.#timer);
    const round = (this.#round += 1);
    const query = this.#words.value.trim();
    const filters = this.#filters.read();
    if (!filters) {
      this.#lists.replaceChildren();
      return;
    }
    try {
      const isSearch = query || Object.values(filters).some((each) => each !== null);
      const shown = isSearch ? await this.#search({ query, ...filters }, round) : await this.#list();
      if (round === this.#round) this.#show(shown);
    } catch (error) {
      if (round !== this.#round) return;
      const again = el("button.quiet", { type: "button", onclick: () => this.refresh() }, "Try again");
      this.#lists.replaceChildren(el("p", { role: "alert" }, errorWords(error)), again);
    }
  }

  /** Whoever is in the list with the keyboard stays at the same dialog when it is drawn anew. */
  #show(nodes) {
    const { archive, message } = this.#lists.contains(document.activeElement) ? document.activeElement.dataset : {};
    this.#lists.replaceChildren(...nodes);
    if (!archive) return;
    const entries = [...this.#lists.querySelectorAll(".entry")];
    const isSame = (entry) => entry.dataset.archive === archive && entry.dataset.message === message;
    (entries.find(isSame) ?? entries[0] ?? this.#words).focus({ preventScroll: true });
  }

  async #list() {
    const options = { retry: true };
    const [pinned, newest] = await Promise.all([
      this.#chat.listArchives({ limit: 100, pinned: true }, options),
      this.#chat.listArchives({ limit: PAGE }, options),
    ]);
    if (!newest.archives.length) return [el("p", {}, "Dialogs that have ended are listed here.")];
    const nodes = [];
    if (pinned.archives.length) nodes.push(el("h2", {}, "Pinned"), listOf(pinned.archives.map((each) => this.#entry(each))));
    const list = listOf([]);
    this.#addPage(list, newest);
    if (list.children.length) nodes.push(el("h2", {}, "Earlier"), list);
    return nodes;
  }

  #addPage(list, { archives, cursor }) {
    list.append(...archives.filter((each) => !each.pinned).map((each) => el("li", {}, this.#entry(each))));
    if (cursor === null) return;
    this.#addMore(list, async () => this.#addPage(list, await this.#chat.listArchives({ limit: PAGE, cursor })));
  }

  async #search(asked, round) {
    const list = listOf([]);
    await this.#addMatches(list, { ...asked, limit: PAGE }, round);
    const count = list.querySelectorAll(".entry").length;
    // Without words the first message of each dialog is what is found.
    const what = asked.query ? "message" : "dialog";
    const heading = count ? "Found" : `Nothing found${asked.query && ` for “${asked.query}”`}`;
    if (round === this.#round) announce(count ? `${countWords(count, what)} found` : heading);
    return [el("h2", {}, heading), list];
  }

  async #addMatches(list, asked, round) {
    let page = await this.#chat.searchArchives(asked, { retry: true });
    for (let empty = 0; !page.matches.length && page.cursor !== null && empty < EMPTY_PAGES; empty += 1) {
      if (round !== this.#round) return;
      page = await this.#chat.searchArchives({ ...asked, cursor: page.cursor }, { retry: true });
    }
    list.append(...page.matches.map((match) => el("li", {}, this.#match(match))));
    if (page.cursor === null) return;
    this.#addMore(list, () => this.#addMatches(list, { ...asked, cursor: page.cursor }, round));
  }

  #addMore(list, load) {
    const button = el("button.quiet.more", { type: "button" }, "More");
    const item = el("li", {}, button);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await load();
        const next = item.nextElementSibling?.querySelector("button");
        item.remove();
        next?.focus();
      } catch (error) {
        button.disabled = false;
        button.textContent = `${errorWords(error)} Try again`;
      }
    });
    list.append(item);
  }

  #entry({ id, title, endedAt, messageCount }) {
    const end = new Date(endedAt);
    const isThisYear = end.getFullYear() === new Date().getFullYear();
    const about = `${(isThisYear ? momentWords : dayWords)(end)} · ${countWords(messageCount, "message")}`;
    return this.#button(id, null, el("span.name", {}, title), el("span.about", {}, about));
  }

  #match({ archiveId, title, messageId, role, timestamp, snippet }) {
    const parts = snippet.map(({ text, match }) => (match ? el("mark", {}, text) : text));
    const about = `${role === "user" ? "You" : "Reply"}, ${momentWords(new Date(timestamp))}`;
    return this.#button(
      archiveId,
      messageId,
      el("span.name", {}, title),
      el("span.snippet", {}, ...parts),
      el("span.about", {}, about),
    );
  }

  #button(id, messageId, ...content) {
    const button = el("button.entry", { type: "button", onclick: () => this.#open(id, messageId) }, ...content);
    button.dataset.archive = id;
    if (messageId) button.dataset.message = messageId;
    this.#markEntry(button);
    return button;
  }

  #markEntry(button) {
    const { archive, message = this.#openMessage } = button.dataset;
    if (archive === this.#openId && message === this.#openMessage) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function listOf(entries) {
  return el("ul", { role: "list" }, ...entries.map((entry) => el("li", {}, entry)));
}
