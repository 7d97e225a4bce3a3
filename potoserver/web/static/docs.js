/** The methods of all modules, from `/openapi.json`. */
import { announce } from "./announce.js";
import { byId, el } from "./dom.js";
import { Schemas, marked } from "./schema-view.js";
import { themeToggle } from "./theme-toggle.js";
import { countWords } from "./words.js";

const OWN = { events: "The event stream.", login: "Who is asking.", health: "How the server is.", pages: "What a browser shows." };
const EVENTS = "text/event-stream";
const JSON_TYPE = "application/json";

/**
 * @typedef {object} Method
 * @property {string} id Of its element, and so its address: `ChatServerModule/chatWithHistory`.
 * @property {string} group
 * @property {string} text What a search looks at.
 */

/** @returns {Method[]} All operations, in the order of the description. */
function methodsOf(document) {
  return Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([verb, operation]) => {
      const body = operation.requestBody?.content[JSON_TYPE].schema;
      const group = operation.tags[0];
      const isOwn = group in OWN;
      const name = isOwn ? path : path.split("/").at(-1);
      const id = isOwn ? `${verb}${path}` : path.slice(1);
      return { id, group, name, path, verb: verb.toUpperCase(), operation, body, text: `${path} ${operation.summary}`.toLowerCase() };
    }),
  );
}

class View {
  #schemas;
  #tokens;

  constructor(description, tokens) {
    this.#schemas = new Schemas(description.components.schemas);
    this.#tokens = tokens;
  }

  method(method) {
    const { id, path, verb, name, operation } = method;
    const content = operation.responses["200"]?.content ?? {};
    const roles = operation["x-roles"] ?? [];
    const stream = content[EVENTS];
    const isPublic = !operation.security?.length;
    // Which role it needs, its tag says.
    const about = (operation.description ?? "").split("\n").filter((text) => text && !text.startsWith("Needs the role"));
    const tags = [
      ...roles.map((role) => el("span.tag.warn", {}, `role ${role}`)),
      isPublic ? el("span.tag", {}, "no token needed") : null,
      stream ? el("span.tag", {}, stream["x-endless"] ? "endless" : "streams") : null,
    ].filter(Boolean);
    return el(
      "article",
      { id },
      el("h3", { tabIndex: -1 }, el("a", { href: `#${id}` }, name)),
      el("p.address", {}, el("code", {}, `${verb} ${path}`), ...tags),
      ...[operation.summary, ...about].map((text) => el("p", {}, ...marked(text))),
      this.#parameters(method),
      this.#arguments(method),
      this.#result(content, stream),
      this.#errors(operation),
      this.#example(method, Boolean(stream), roles, isPublic),
    );
  }

  #parameters({ operation, group }) {
    // Of a module's methods it is the same header for all, which only some look at.
    const parameters = group in OWN ? (operation.parameters ?? []) : [];
    if (!parameters.length) return null;
    const items = parameters.map((each) =>
      el(
        "li",
        {},
        el("code", {}, each.name),
        " ",
        el("span.type", {}, `${each.in}, ${this.#schemas.words(each.schema)}`),
        el("span.about", {}, ` ${each.description ?? ""}`),
      ),
    );
    return el("section", {}, el("h4", {}, "Parameters"), el("ul.fields", { role: "list" }, ...items));
  }

  #arguments({ body }) {
    if (!body) return null;
    const schema = this.#schemas.resolve(body);
    const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
      const isRequired = schema.required?.includes(name);
      const bounds = this.#schemas.bounds(field);
      return el(
        "tr",
        { role: "row" },
        el("th", { scope: "row", role: "rowheader" }, el("code", {}, name)),
        el("td", { role: "cell" }, el("span.type", {}, this.#schemas.words(field))),
        el("td", { role: "cell" }, isRequired ? "required" : el("code", {}, JSON.stringify(field.default ?? null))),
        el(
          "td",
          { role: "cell" },
          ...marked(field.description ?? ""),
          bounds ? el("span.about", {}, ` (${bounds})`) : null,
          this.#schemas.fields(field),
        ),
      );
    });
    if (!rows.length) return el("p.muted", {}, "It takes no arguments.");
    const names = ["Argument", "Type", "Default", "What it is"];
    const head = names.map((each) => el("th", { scope: "col", role: "columnheader" }, each));
    const table = el(
      "table",
      { role: "table", "aria-label": "Arguments" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)),
      el("tbody", { role: "rowgroup" }, ...rows),
    );
    return el("section", {}, el("h4", {}, "Arguments"), table);
  }

  #result(content, stream) {
    const result = content[JSON_TYPE]?.schema;
    const other = Object.keys(content).filter((type) => type !== JSON_TYPE && type !== EVENTS);
    const parts = [];
    if (stream?.["x-item"]) parts.push(...this.#value("Each piece", stream["x-item"]));
    if (result && !stream?.["x-endless"]) parts.push(...this.#value("Result", result));
    if (!stream?.["x-item"] && stream) parts.push(el("h4", {}, "Answer"), el("p", {}, "A stream of events."));
    if (other.length) parts.push(el("h4", {}, "Answer"), el("p", {}, el("code", {}, other.join(", "))));
    return parts.length ? el("section", {}, ...parts) : null;
  }

  #value(title, schema) {
    const about = this.#schemas.resolve(schema).description;
    return [
      el("h4", {}, title),
      el("p", {}, el("span.type", {}, this.#schemas.words(schema)), about ? el("span.about", {}, " ", ...marked(about)) : null),
      this.#schemas.fields(schema) ?? "",
    ];
  }

  #errors(operation) {
    const items = Object.entries(operation.responses)
      .filter(([status]) => Number(status) >= 400)
      .map(([status, { description }]) => el("li", {}, el("code", {}, status), ` ${description}`));
    return el("details", {}, el("summary", {}, countWords(items.length, "error")), el("ul.fields", { role: "list" }, ...items));
  }

  #example({ verb, path, body }, streams, roles, isPublic) {
    const token = this.#tokens.find(({ user }) => (user === "admin") === roles.includes("admin"))?.token ?? "$TOKEN";
    const parts = [`curl ${streams ? "-N " : ""}${verb === "GET" ? "" : `-X ${verb} `}${location.origin}${path}`];
    if (!isPublic) parts.push(`-H "Authorization: Bearer ${token}"`);
    if (streams && verb === "POST") parts.push(`-H "Accept: ${EVENTS}"`);
    if (body) {
      const schema = this.#schemas.resolve(body);
      const needed = (schema.required ?? []).map((name) => [name, this.#schemas.example(schema.properties[name])]);
      if (needed.length) parts.push('-H "Content-Type: application/json"', `-d '${JSON.stringify(Object.fromEntries(needed))}'`);
    }
    const text = parts.join(" \\\n     ");
    const copy = el("button.quiet", { type: "button", "aria-label": `Copy the example of ${path}` }, "Copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      announce("Copied");
      copy.textContent = "Copied";
    });
    const code = el("div.code", {}, el("pre", { tabIndex: 0, "aria-label": "Example" }, text), navigator.clipboard ? copy : null);
    return el("section", {}, el("h4", {}, "Example"), code);
  }
}

function draw(description, tokens) {
  byId("version").textContent = description.info.version;
  const view = new View(description, tokens);
  const summaries = { ...OWN, ...Object.fromEntries(description.tags.map(({ name, description: text }) => [name, text])) };
  const methods = methodsOf(description);
  const groups = Object.entries(Object.groupBy(methods, ({ group }) => group)).sort(([one], [other]) => (one in OWN) - (other in OWN));
  const drawn = groups.map(([group, members]) => {
    const title = group in OWN ? `The server: ${group}` : group;
    const section = el("section.module", { "aria-label": title }, el("h2", { id: group }, title), el("p.muted", {}, summaries[group] ?? ""));
    const list = el("ul", { role: "list" });
    const contents = el("div", {}, el("p.group", {}, title), list);
    const parts = members.map((method) => {
      const article = view.method(method);
      const entry = el("li", {}, el("a", { href: `#${method.id}` }, method.name));
      section.append(article);
      list.append(entry);
      return { text: method.text, article, entry };
    });
    byId("modules").append(section);
    byId("contents").append(contents);
    return { section, contents, parts };
  });
  byId("search").addEventListener("input", () => search(drawn));
}

function search(drawn) {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { section, contents, parts } of drawn) {
    let isShown = false;
    for (const { text, article, entry } of parts) {
      const matches = words.every((word) => text.includes(word));
      article.hidden = entry.hidden = !matches;
      isShown ||= matches;
      count += matches;
    }
    section.hidden = contents.hidden = !isShown;
  }
  byId("nothing").hidden = count > 0;
  byId("found").textContent = words.length ? countWords(count, "method") : "";
}

/** An address that was followed before the methods were there: now they are. */
function goTo(id) {
  const article = byId(id);
  if (!article) return;
  article.scrollIntoView();
  article.querySelector("h3")?.focus({ preventScroll: true });
}

async function start() {
  themeToggle(byId("theme"));
  try {
    const [description, who] = await Promise.all(["/openapi.json", "/whoami"].map(async (path) => (await fetch(path)).json()));
    draw(description, who.developmentTokens ?? []);
  } catch {
    byId("fault").textContent = "The description could not be had. Load the page again in a moment.";
    return;
  }
  goTo(decodeURIComponent(location.hash.slice(1)));
  addEventListener("hashchange", () => goTo(decodeURIComponent(location.hash.slice(1))));
}

start();
