/** The nodes of the deployment: what they are called, and how they are. With one alone nothing of it is shown. */
import { durationWords } from "./admin-words.js";
import { el } from "./dom.js";
import { LiveList, setText } from "./live-list.js";
import { countWords } from "./words.js";

/** What nodes are called: the machine, and the process where a machine has several. */
export class NodeNames {
  #names = new Map();
  /** What each has told of itself: one that does not answer is called what it was called before. */
  #told = new Map();

  /** @param {object[]} rows `nodes` of `Operations/watch`. */
  take(rows) {
    const nodes = rows.map((row) => (row.host === null ? { ...row, ...this.#told.get(row.id) } : row));
    this.#told = new Map(nodes.map(({ id, host, pid }) => [id, { host, pid }]));
    const ofHosts = Map.groupBy(nodes, ({ host }) => host);
    const name = ({ id, host, pid }) => (host === null ? id : ofHosts.get(host).length > 1 ? `${host}:${pid}` : host);
    this.#names = new Map(nodes.map((node) => [node.id, name(node)]));
  }

  /** @param {string} id @returns {string} Its name; one that nobody has told of is called by its id. */
  of(id) {
    return this.#names.get(id) ?? id;
  }

  /** @param {?string} id @param {string} before @returns {string} "on web-1", behind what stands before it; or nothing. */
  on(id, before = ", ") {
    return id === null || id === undefined ? "" : `${before}on ${this.of(id)}`;
  }
}

/** The list of nodes, where there is more than one. */
export class NodeFeed {
  #panel;
  #list;
  #names;

  constructor(panel, container, names, clock) {
    this.#panel = panel;
    this.#names = names;
    this.#list = new LiveList(container, (node) => nodeElement(node, names, clock));
  }

  /** @param {object} view Of `Operations/watch`. */
  show({ nodes }) {
    this.#panel.hidden = nodes.length < 2;
    const sorted = nodes.toSorted((one, other) => this.#names.of(one.id).localeCompare(this.#names.of(other.id)));
    this.#list.show(sorted.map((node) => ({ ...node, key: node.id })));
  }

  tick() {
    this.#list.tick();
  }
}

function nodeElement(node, names, clock) {
  const name = el("span.name", {});
  const tag = el("span.tag", {});
  const facts = el("p.muted", {});
  const element = el("li", { title: node.id }, el("p.line", {}, name, tag), facts);
  let now = node;
  const tick = () => {
    const up = now.startedAt ? `, up for ${durationWords(clock.now() - Date.parse(now.startedAt))}` : "";
    setText(facts, `${countWords(now.connections, "connection")}${up}`);
  };
  const update = (item) => {
    now = item;
    setText(name, names.of(item.id));
    const [kind, words] = stateOf(item);
    tag.className = `tag ${kind}`;
    setText(tag, words);
    tick();
  };
  return { element, update, tick };
}

function stateOf({ answers, draining }) {
  if (!answers) return ["bad", "does not answer"];
  return draining ? ["warn", "stopping"] : ["good", "running"];
}
