/**
 * Markdown to a tree. Only what a chat needs, and every text is some tree: while a reply grows, a fence or a list that is
 * not closed yet is what it will be. It takes time in proportion to the text, whatever the text is.
 *
 * Blocks: `{type: "paragraph"|"heading"|"code"|"list"|"quote"|"table"|"rule", source, …}`, `source` being its own lines.
 * Inline: strings and `{type: "strong"|"em"|"del"|"code"|"link"|"break", …}`.
 */
const MOST_NESTED = 12;
const MOST_OPEN = 32;

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const COLUMN = /^:?-+:?$/;

/** @param {string} text @returns {object[]} Its blocks. */
export function parseMarkdown(text) {
  return parseLines(text.replace(/\r\n?/g, "\n").split("\n"), 0);
}

function parseLines(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, next] = parseBlock(lines, at, depth);
    block.source = lines.slice(at, next).join("\n");
    blocks.push(block);
    at = next;
  }
  return blocks;
}

function parseBlock(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return parseCode(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) {
    const text = trimEnd(trimEnd(line.slice(heading[0].length), " \t"), "#");
    return [{ type: "heading", level: heading[1].length, inline: parseInline(text.trim()) }, at + 1];
  }
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < MOST_NESTED) {
    if (QUOTE.test(line)) return parseQuote(lines, at, depth);
    if (ITEM.test(line)) return parseList(lines, at, depth);
  }
  const table = parseTable(lines, at);
  if (table) return table;
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !beginsBlock(lines[end], depth)) end += 1;
  const text = lines.slice(at, end).map((each) => each.trim()).join("\n");
  return [{ type: "paragraph", inline: parseInline(text) }, end];
}

function beginsBlock(line, depth) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line)) return true;
  return depth < MOST_NESTED && (QUOTE.test(line) || ITEM.test(line));
}

function parseCode(lines, at, [, fence, info]) {
  let end = at + 1;
  while (end < lines.length && !closes(lines[end], fence)) end += 1;
  const text = lines.slice(at + 1, end).join("\n");
  return [{ type: "code", language: info.trim().split(/\s/)[0], text }, Math.min(end + 1, lines.length)];
}

function closes(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && trimEnd(text, fence[0]) === "";
}

function parseQuote(lines, at, depth) {
  let end = at;
  const inner = [];
  while (end < lines.length && QUOTE.test(lines[end])) {
    inner.push(lines[end].replace(QUOTE, ""));
    end += 1;
  }
  return [{ type: "quote", blocks: parseLines(inner, depth + 1) }, end];
}

function parseList(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const indent = first[1].length;
  const isOrdered = first[2].length > 1;
  const items = [];
  let end = at;
  while (end < lines.length) {
    const marker = ITEM.exec(lines[end]);
    if (!marker || marker[1].length >= indent + 2 || marker[2].length > 1 !== isOrdered) break;
    const inner = [lines[end].slice(marker[0].length)];
    end += 1;
    while (end < lines.length && belongs(lines, end, indent, inner)) {
      const own = indentOf(lines[end]);
      inner.push(lines[end].slice(Math.min(own, Math.max(marker[0].length, 2))));
      end += 1;
    }
    items.push(parseLines(inner, depth + 1));
    while (end < lines.length && !lines[end].trim()) end += 1;
  }
  return [{ type: "list", isOrdered, start: isOrdered ? Number.parseInt(first[2], 10) : null, items }, end];
}

/** Whether a line goes on with the item above: it is indented, or goes on with the item's paragraph. */
function belongs(lines, at, indent, inner) {
  const line = lines[at];
  if (!line.trim()) {
    let next = at + 1;
    while (next < lines.length && !lines[next].trim()) next += 1;
    return next < lines.length && next - at < 3 && indentOf(lines[next]) >= indent + 2;
  }
  if (indentOf(line) >= indent + 2) return true;
  return Boolean(inner.at(-1).trim()) && !beginsBlock(line, 0);
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function parseTable(lines, at) {
  if (!lines[at].includes("|") || at + 1 === lines.length) return null;
  const columns = cellsOf(lines[at + 1]);
  const head = cellsOf(lines[at]);
  if (!lines[at + 1].includes("-") || columns.length !== head.length || !columns.every((each) => COLUMN.test(each))) {
    return null;
  }
  const align = columns.map((each) => {
    if (each.endsWith(":")) return each.startsWith(":") ? "center" : "end";
    return "start";
  });
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) {
    const cells = cellsOf(lines[end]).slice(0, head.length);
    rows.push(head.map((_, column) => parseInline(cells[column] ?? "")));
    end += 1;
  }
  return [{ type: "table", align, head: head.map((each) => parseInline(each)), rows }, end];
}

function cellsOf(line) {
  let text = line.trim();
  if (text.startsWith("|")) text = text.slice(1);
  if (text.endsWith("|") && !text.endsWith("\\|")) text = text.slice(0, -1);
  return text.split(/(?<!\\)\|/).map((each) => each.replaceAll("\\|", "|").trim());
}

function trimEnd(text, characters) {
  let end = text.length;
  while (end > 0 && characters.includes(text[end - 1])) end -= 1;
  return text.slice(0, end);
}

// Inline

const SPECIAL = /\\[!-/:-@[-`{-~]|`+|\*+|_+|~~|!?\[|<https?:\/\/[^\s<>]{1,2000}>|https?:\/\/[^\s<>"]{1,2000}|\n/g;
const LINK = /!?\[((?:[^[\]\\\n]|\\.){0,1000})\]\(<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500}){0,3})>?(?: +"[^"\n]{0,500}")? *\)/y;
const WORD = /[\p{L}\p{N}]/u;
const NODES = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };

/** @param {string} text @returns {(string|object)[]} */
export function parseInline(text, links = true) {
  const stack = [{ nodes: [] }];
  const add = (node) => {
    const { nodes } = stack.at(-1);
    if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += node;
    else if (node !== "") nodes.push(node);
  };
  const missing = new Set(); // lengths of runs of backticks of which there is none any more
  let at = 0;
  for (const special = new RegExp(SPECIAL); ; ) {
    special.lastIndex = at;
    const found = special.exec(text);
    if (!found) break;
    add(text.slice(at, found.index));
    const [token] = found;
    at = found.index + token.length;
    if (token[0] === "\\") {
      add(token[1]);
    } else if (token[0] === "`") {
      const end = missing.has(token.length) ? -1 : endOfCode(text, token, at);
      if (end < 0) {
        missing.add(token.length);
        add(token);
      } else {
        add({ type: "code", text: text.slice(at, end).replace(/^ (.*[^ ].*) $/s, "$1") });
        at = end + token.length;
      }
    } else if (token === "\n") {
      add({ type: "break" });
    } else if (token.endsWith("[")) {
      LINK.lastIndex = found.index;
      const link = links ? LINK.exec(text) : null;
      const url = link && safeUrl(link[2]);
      if (url) {
        add({ type: "link", url, inline: parseInline(link[1] || link[2], false) });
        at = LINK.lastIndex;
      } else {
        add(token);
      }
    } else if (token[0] === "<" || token[0] === "h") {
      at = found.index + addAddress(token, links, add);
    } else {
      emphasize(text, found.index, token, stack, add);
    }
  }
  add(text.slice(at));
  while (stack.length > 1) flatten(stack, add);
  return stack[0].nodes;
}

function endOfCode(text, ticks, from) {
  for (let at = text.indexOf(ticks, from); at >= 0; ) {
    let end = at;
    while (text[end] === "`") end += 1;
    if (end - at === ticks.length) return at;
    at = text.indexOf(ticks, end);
  }
  return -1;
}

/** A bare address, without the punctuation behind it. @returns {number} How much of it was taken. */
function addAddress(token, links, add) {
  const isBracketed = token[0] === "<";
  let address = isBracketed ? token.slice(1, -1) : trimEnd(token, ".,:;!?'*_~");
  if (!isBracketed && address.endsWith(")") && !address.includes("(")) address = address.slice(0, -1);
  const url = links ? safeUrl(address) : null;
  add(url ? { type: "link", url, inline: [address] } : address);
  return isBracketed ? token.length : address.length;
}

/** A run of delimiters: closes what is open, as far as it can, else opens. */
function emphasize(text, start, token, stack, add) {
  const before = text[start - 1] ?? " ";
  const after = text[start + token.length] ?? " ";
  const isWord = token[0] === "_" && WORD.test(before) && WORD.test(after);
  let length = token.length;
  if (before.trim() && !isWord) {
    while (length > 0 && stack.some((frame) => frame.mark === token[0])) {
      while (stack.at(-1).mark !== token[0]) flatten(stack, add);
      const frame = stack.at(-1);
      const used = token[0] === "~" ? 2 : Math.min(2, frame.length, length);
      const node = { type: NODES[token[0].repeat(used)], inline: frame.nodes };
      length -= used;
      frame.length -= used;
      if (frame.length > 0) frame.nodes = [node];
      else {
        stack.pop();
        add(node);
      }
    }
  }
  if (length === 0) return;
  if (after.trim() && !isWord && stack.length < MOST_OPEN) stack.push({ mark: token[0], length, nodes: [] });
  else add(token[0].repeat(length));
}

/** What was opened and never closed is what it says. */
function flatten(stack, add) {
  const { mark, length, nodes } = stack.pop();
  add(mark.repeat(length));
  nodes.forEach(add);
}

/** The address, if it is one that a link may have; null for any other, such as `javascript:`. */
export function safeUrl(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
