import { el } from "./dom.js";
import { countWords } from "./words.js";

/** Of one call: the server takes more, but a person wants to see it go on. */
const BATCH_CHARACTERS = 4_000_000;

/** Hands a file to the person. @param {{name: string, blob: Blob}} file */
export function save({ name, blob }) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * Imports a file: an export of this server, or a list of messages as other chats have it.
 *
 * @param {object} chat The chat module's methods.
 * @param {File} file
 * @param {(done: number, all: number) => void} progress
 * @returns {Promise<{imported: number, skipped: number}>}
 */
export async function importFile(chat, file, progress) {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON.`);
  }
  if (Array.isArray(content?.archives)) return importArchives(chat, content.archives, progress);
  const messages = Array.isArray(content) ? content : content?.messages;
  if (!Array.isArray(messages)) throw new Error(`${file.name} holds neither archives nor a list of messages.`);
  const title = typeof content.title === "string" ? content.title : null;
  const { imported, skipped } = await chat.importArchives({ messages, title });
  return { imported: imported.length, skipped };
}

async function importArchives(chat, archives, progress) {
  const total = { imported: 0, skipped: 0 };
  let batch = [];
  let size = 0;
  const send = async (done) => {
    if (!batch.length) return;
    const { imported, skipped } = await chat.importArchives({ archives: batch }, { retry: true });
    total.imported += imported.length;
    total.skipped += skipped;
    progress(done, archives.length);
    batch = [];
    size = 0;
  };
  for (const [at, archive] of archives.entries()) {
    const characters = JSON.stringify(archive).length;
    if (size + characters > BATCH_CHARACTERS) await send(at);
    batch.push(archive);
    size += characters;
  }
  await send(archives.length);
  return total;
}

/** @returns {string} What became of an import. */
export function importWords({ imported, skipped }) {
  const came = imported ? `${countWords(imported, "dialog")} imported.` : "Nothing new.";
  return skipped ? `${came} ${countWords(skipped, "dialog was", "dialogs were")} here already.` : came;
}
