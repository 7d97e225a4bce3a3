import { el } from "./dom.js";
import { parseMarkdown } from "./markdown.js";

const SHOWN_MS = 2_000;

/**
 * Shows Markdown in an element. Called again with a longer text it changes only what is new, so that a reply can grow
 * under the reader's eyes (and selection).
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function showMarkdown(element, text) {
  const blocks = parseMarkdown(text);
  const shown = element.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < shown.length && blocks[same].source === shown[same].source) same += 1;
  for (let at = same; at < blocks.length; at += 1) {
    const old = element.children[at];
    if (old && blocks[at].type === "code" && shown[at]?.type === "code" && blocks[at].language === shown[at].language) {
      old.querySelector("code").textContent = blocks[at].text;
    } else if (old) {
      old.replaceWith(blockNode(blocks[at]));
    } else {
      element.append(blockNode(blocks[at]));
    }
  }
  while (element.children.length > blocks.length) element.lastElementChild.remove();
  element.blocks = blocks;
}

function blockNode(block) {
  switch (block.type) {
    case "heading":
      // Below the page's own headings, which are of the first and the second level.
      return el(`h${Math.min(block.level + 2, 6)}`, {}, ...inlineNodes(block.inline));
    case "code":
      return codeNode(block);
    case "quote":
      return el("blockquote", {}, ...block.blocks.map(blockNode));
    case "list":
      return listNode(block);
    case "table":
      return tableNode(block);
    case "rule":
      return el("hr");
    default:
      return el("p", {}, ...inlineNodes(block.inline));
  }
}

function listNode({ isOrdered, start, items }) {
  const list = el(isOrdered ? "ol" : "ul");
  if (isOrdered && start !== 1) list.start = start;
  for (const blocks of items) {
    const isPlain = blocks.filter((block) => block.type === "paragraph").length <= 1;
    list.append(
      el("li", {}, ...blocks.flatMap((block) => (isPlain && block.type === "paragraph" ? inlineNodes(block.inline) : [blockNode(block)]))),
    );
  }
  return list;
}

function tableNode({ align, head, rows }) {
  const cell = (tag, inline, column) => el(`${tag}.to-${align[column]}`, {}, ...inlineNodes(inline));
  return el(
    "div.table",
    { tabIndex: 0, role: "region", "aria-label": "Table" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...head.map((inline, column) => cell("th", inline, column)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((inline, column) => cell("td", inline, column))))),
    ),
  );
}

function codeNode({ language, text }) {
  const code = el("code", {}, text);
  const button = el("button.quiet.copy", { type: "button", onclick: () => copy(code, button) }, "Copy");
  return el(
    "figure.code",
    {},
    el("figcaption", {}, el("span", {}, language || "text"), button),
    el("pre", { tabIndex: 0, role: "region", "aria-label": language ? `Code in ${language}` : "Code" }, code),
  );
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // No leave, or no secure page: the user can copy what is selected.
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, SHOWN_MS);
}

function inlineNodes(inline) {
  return inline.map((node) => {
    if (typeof node === "string") return document.createTextNode(node);
    switch (node.type) {
      case "code":
        return el("code", {}, node.text);
      case "break":
        return el("br");
      case "link":
        return el("a", { href: node.url, rel: "noopener noreferrer", target: "_blank" }, ...inlineNodes(node.inline));
      default:
        return el(node.type, {}, ...inlineNodes(node.inline));
    }
  });
}
