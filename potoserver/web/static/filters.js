import { byId, el } from "./dom.js";
import { setText } from "./live-list.js";
import { REASONS, dayWords } from "./words.js";

/** The first whole year: what comes before it is one that is being typed. */
const FIRST_DAY = "1000-01-01";

/** What narrows a search, or is one by itself: out of the way until it is asked for, and told whenever it is on. */
export class SearchFilters {
  #toggle = byId("filter");
  #panel = byId("filters");
  #about = byId("filters-on");
  #fault = byId("filters-fault");
  #from = byId("filter-from");
  #to = byId("filter-to");
  #role = byId("filter-role");
  #reason = byId("filter-reason");
  #title = byId("filter-title");

  /** @param {() => void} changed Told of what no event of the form tells. */
  constructor(changed) {
    this.#reason.append(...Object.entries(REASONS).map(([value, text]) => el("option", { value }, text)));
    this.#toggle.addEventListener("click", () => this.#open(this.#panel.hidden));
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#open(false);
      this.#toggle.focus();
    });
    // A half date has the value of none, so its field has not changed.
    this.#panel.addEventListener("focusout", ({ target }) => {
      if (target.validity?.badInput) changed();
    });
    byId("filters-clear").addEventListener("click", () => {
      for (const field of this.#fields) field.value = "";
      changed();
      this.#toggle.focus();
    });
  }

  /**
   * Reads them, and says what is on, or wrong.
   *
   * @returns {?object} As arguments of `searchArchives`; null where they can't be used.
   */
  read() {
    const [from, to] = [dayOf(this.#from), dayOf(this.#to)];
    const [role, reason, title] = [this.#role.value, this.#reason.value, this.#title.value.trim()];
    const fault = this.#faultOf(from, to);
    this.#tell(this.#words(from, to, role, reason, title), fault);
    if (fault) return null;
    const behind = to && new Date(to.getFullYear(), to.getMonth(), to.getDate() + 1);
    return {
      after: from?.toISOString() ?? null,
      before: behind?.toISOString() ?? null,
      role: role || null,
      reason: reason || null,
      title: title || null,
    };
  }

  get #fields() {
    return [this.#from, this.#to, this.#role, this.#reason, this.#title];
  }

  #open(isOpen) {
    this.#panel.hidden = !isOpen;
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
  }

  #faultOf(from, to) {
    for (const [name, field] of [["From", this.#from], ["To", this.#to]]) {
      if (field.validity.badInput && field !== document.activeElement) return `“${name}” is not a whole date.`;
    }
    return from && to && from > to ? "“From” is later than “To”: nothing was written between them." : "";
  }

  #words(from, to, role, reason, title) {
    return [
      role && this.#role.selectedOptions[0].text.toLowerCase(),
      from && `from ${dayWords(from)}`,
      to && `to ${dayWords(to)}`,
      reason && `because ${REASONS[reason]}`,
      title && `title with “${title}”`,
    ].filter(Boolean);
  }

  #tell(words, fault) {
    const count = words.length;
    this.#toggle.classList.toggle("on", count > 0);
    this.#toggle.setAttribute("aria-label", count ? `Filters, ${count} on` : "Filters");
    this.#about.hidden = count === 0;
    this.#about.firstElementChild.textContent = fault ? "" : `Only ${words.join(", ")}.`;
    setText(this.#fault, fault);
    for (const field of [this.#from, this.#to]) field.setAttribute("aria-invalid", String(fault !== ""));
  }
}

/** @returns {?Date} The beginning of the day in a field, where the person is. */
function dayOf({ value }) {
  return value >= FIRST_DAY ? new Date(`${value}T00:00`) : null;
}
