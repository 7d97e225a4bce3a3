import { el } from "./dom.js";
import { PotoError } from "./poto-error.js";
import { countWords } from "./words.js";

/** Of one call, which adds all or nothing: a little less than the server takes (docs/protocol.md, Import). */
const PART_BYTES = 30_000_000;
const PART_MESSAGES = 20_000;
/** The status of what the server would refuse as well. */
const INVALID = { status: 422, title: "Unprocessable Content" };

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
 * All or nothing, up to what one call takes. A larger file goes in several; where a later one fails, what is wrong is told by
 * its place in the file, and what was added before.
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
    throw new PotoError({ ...INVALID, detail: `${file.name} is not JSON.` });
  }
  if (Array.isArray(content?.archives)) return importArchives(chat, content.archives, progress);
  const messages = Array.isArray(content) ? content : content?.messages;
  if (!Array.isArray(messages)) {
    throw new PotoError({ ...INVALID, detail: `${file.name} holds neither archives nor a list of messages.` });
  }
  const title = typeof content.title === "string" ? content.title : null;
  const { imported, skipped } = await chat.importArchives({ messages, title });
  return { imported: imported.length, skipped };
}

async function importArchives(chat, archives, progress) {
  const total = { imported: 0, skipped: 0 };
  let begin = 0;
  const send = async (end) => {
    progress(begin, archives.length);
    try {
      const { imported, skipped } = await chat.importArchives({ archives: archives.slice(begin, end) }, { retry: true });
      total.imported += imported.length;
      total.skipped += skipped;
    } catch (error) {
      throw begin ? ofLaterPart(error, begin, total) : error;
    }
    begin = end;
  };
  let [bytes, messages] = [0, 0];
  for (const [at, archive] of archives.entries()) {
    const [more, count] = [new Blob([JSON.stringify(archive)]).size, archive?.messages?.length ?? 0];
    if (at > begin && (bytes + more > PART_BYTES || messages + count > PART_MESSAGES)) {
      await send(at);
      [bytes, messages] = [0, 0];
    }
    bytes += more;
    messages += count;
  }
  if (archives.length) await send(archives.length);
  return total;
}

/** @returns {PotoError} A part's fault, as one of the file's. */
function ofLaterPart(error, begin, total) {
  const detail = `${error.detail} Of the ${countWords(begin, "dialog")} before: ${importWords(total)}`;
  const errors = error.errors.map(({ field, message }) => {
    const place = field.replace(/^archives\.(\d+)/, (_all, at) => `archives.${begin + Number(at)}`);
    return { field: place, message };
  });
  return new PotoError({ ...error, detail, errors }, error.retryAfterS);
}

/** @returns {string} What became of an import. */
export function importWords({ imported, skipped }) {
  const came = imported ? `${countWords(imported, "dialog")} imported.` : "Nothing new.";
  return skipped ? `${came} ${countWords(skipped, "dialog was", "dialogs were")} here already.` : came;
}
