/** The chat page: puts its parts together. */
import { announce } from "./announce.js";
import { ArchiveView } from "./archive-view.js";
import { ArchiveList } from "./archives.js";
import { Composer } from "./composer.js";
import { ConnectionView } from "./connection.js";
import { DialogView } from "./dialog-view.js";
import { Dialog } from "./dialog.js";
import { byId } from "./dom.js";
import { askFormat, askTitle, confirmDelete } from "./modals.js";
import { Notices } from "./notices.js";
import { PotoClient, PotoError, newKey } from "./poto-client.js";
import { Scroller } from "./scroller.js";
import { signIn } from "./signin.js";
import { themeToggle } from "./theme-toggle.js";
import { importFile, importWords, save } from "./transfer.js";
import { endOfArchive, errorWords, firstWords, reasonWords, whenWords } from "./words.js";

/** Before the ids of this page's own calls: such a call can be repeated under its id, from any tab. */
const OWN = "web-";
const RETRY_START_MS = 3_000;
const HIDDEN_DRAW_MS = 200;
/** Where it is kept for the next load of this page why one has to sign in. */
const WHY = "poto-why";

let me = null;
const dialog = new Dialog(changed);
const client = new PotoClient({
  resumeKey: "poto-place",
  isSettled: () => dialog.isSettled,
  onLogin: (user) => {
    if (user !== (me?.user ?? null)) location.reload();
  },
});
const chat = client.module("ChatServerModule");
const notices = new Notices(byId("notices"), () => composer.focus());
const scroller = new Scroller(() => archiveView.view ?? view);
const view = new DialogView(byId("messages"), scroller, {
  retry: (entry) => ask(entry.content, entry.requestId),
  canRetry: (entry) => entry.requestId?.startsWith(OWN),
  takeBack: (entry) => {
    composer.set(dialog.takeBack(entry));
    composer.focus();
  },
});
const composer = new Composer({
  send: (text) => ask(text, OWN + newKey()),
  stop: () => attempt("stop", () => chat.stopGeneration()),
});
const archives = new ArchiveList(chat, openArchive);
const archiveView = new ArchiveView(scroller, { restore, rename, pin, exportOne, remove, close: closeArchive });

// Drawing

let isDrawing = false;

function changed() {
  if (isDrawing) return;
  isDrawing = true;
  // A hidden tab draws nothing, so nobody would ever call.
  if (document.hidden) setTimeout(draw, HIDDEN_DRAW_MS);
  else requestAnimationFrame(draw);
}

function draw() {
  isDrawing = false;
  view.show(dialog.entries);
  composer.setGrowing(dialog.isGrowing);
  showFrame();
  if (!archiveView.archive) scroller.follow();
}

/** What stands around the messages. */
function showFrame() {
  const archive = archiveView.archive;
  const title = archive ? archive.title : firstWords(dialog.subject) || "New dialog";
  byId("title").textContent = title;
  document.title = `${title} · potoserver`;
  byId("messages").hidden = Boolean(archive);
  byId("empty").hidden = Boolean(archive) || dialog.entries.length > 0;
  byId("composer").hidden = Boolean(archive);
  byId("end").hidden = Boolean(archive) || !dialog.entries.some((entry) => entry.id);
  if (archive) byId("current").removeAttribute("aria-current");
  else byId("current").setAttribute("aria-current", "page");
}

// The dialog

/** The ids of this tab's own calls: their replies are announced where they end. */
const asked = new Set();

/** Sends a message, or the same one again: its id is its idempotency key, so it is never added twice. */
async function ask(text, requestId) {
  asked.add(requestId);
  dialog.ask(requestId, text);
  scroller.toEnd();
  const reply = chat.chatWithHistory.stream({ message: text }, { requestId, idempotencyKey: requestId, retry: true });
  try {
    for await (const delta of reply) dialog.grow(requestId, delta);
    const result = await reply.result;
    dialog.answered(requestId, result);
    announce(result.reply);
  } catch (error) {
    dialog.failed(requestId, error);
    announce(errorWords(error));
  }
}

let isLoaded = false;
let isLoading = false;
let loadAgain = false;

async function load() {
  if (isLoading) {
    loadAgain = true;
    return;
  }
  isLoading = true;
  try {
    do {
      loadAgain = false;
      dialog.loading();
      dialog.loaded(await chat.getConversation({}, { retry: true }));
      isLoaded = true;
      notices.hide("load");
    } while (loadAgain);
  } catch (error) {
    notices.show("load", `Your dialog could not be loaded. ${errorWords(error)}`, [["Try again", load]]);
  } finally {
    isLoading = false;
  }
}

function listen() {
  client.on("shutdown", () => {
    isStopping = true;
  });
  client.on("connected", ({ gap, conversation, archived }) => {
    isStopping = false;
    if (gap) dialog.missed();
    if (!isLoaded || gap || conversation !== dialog.conversationId) load();
    if (archived) wasArchived(archived);
    archives.refresh();
  });
  client.on("message", (data) => {
    dialog.onMessage(data);
    if (data.role === "assistant" && !asked.has(data.requestId)) announce(data.content);
  });
  client.on("delta", (data) => dialog.onDelta(data));
  client.on("failed", (data) => {
    const { status, detail, requestId } = data;
    dialog.onFailed(data, new PotoError({ status, title: detail, detail, requestId }));
  });
  client.on("archived", (data) => {
    dialog.onArchived(data.conversation);
    wasArchived(data);
    refreshList();
  });
  client.on("restored", ({ id, superseded }) => {
    notices.hide("archived");
    if (archiveView.archive) closeArchive();
    load();
    refreshList();
    if (superseded) {
      notices.show("superseded", "What you had here before is archived.", [["Open it", () => openArchive(superseded)]]);
    }
    announce(`You go on with the dialog archived ${momentOf(id)}.`);
  });
  client.on("archives", ({ change, id, title, pinned }) => {
    refreshList();
    if (archiveView.archive?.id !== id) return;
    if (change === "deleted") closeArchive();
    else {
      archiveView.change({ title, pinned });
      showFrame();
    }
  });
}

let isStopping = false;

/** While the server stops or is away the list stays as it is; the next `connected` has it asked for. */
function refreshList() {
  if (client.state.name === "connected" && !isStopping) archives.refresh();
}

let archivedId = null;

function wasArchived({ id, reason }) {
  archivedId = id;
  notices.hide("superseded");
  notices.show("archived", `Your dialog was archived ${momentOf(id)}, ${reasonWords(reason)}.`, [
    ["Go on with it", () => restore({ id })],
    ["Open it", () => openArchive(id)],
  ]);
}

function momentOf(id) {
  const end = endOfArchive(id);
  return end ? whenWords(end) : "";
}

// Archives

/** Does what a person asked for; says what went wrong. @returns {Promise<boolean>} Whether it was done. */
async function attempt(key, action) {
  notices.hide(key);
  try {
    await action();
    return true;
  } catch (error) {
    notices.show(key, errorWords(error), error.passes ? [["Try again", () => attempt(key, action)]] : []);
    return false;
  }
}

async function openArchive(id, messageId = null) {
  closeList();
  await attempt("archive", async () => {
    const archive = await chat.getArchive({ id }, { retry: true });
    archiveView.show(archive);
    archives.mark(id, messageId);
    if (archivedId === id) notices.hide("archived");
    showFrame();
    scroller.toEnd();
    if (messageId) archiveView.reveal(messageId);
    else byId("title").focus();
  });
}

function closeArchive() {
  if (!archiveView.archive) return;
  archiveView.close();
  archives.mark(null);
  showFrame();
  scroller.toEnd();
  composer.focus();
}

async function restore({ id }) {
  // The event `restored`, which every tab gets, does the rest.
  await attempt("archive", () => chat.restoreArchive({ id }));
}

async function rename({ id, title }) {
  const given = await askTitle(title);
  if (given !== null) await attempt("archive", () => chat.renameArchive({ id, title: given || null }));
}

async function pin({ id, pinned }) {
  await attempt("archive", () => chat.pinArchive({ id, pinned: !pinned }));
}

async function exportOne({ id, title }) {
  await exportArchives(`“${firstWords(title, 40)}”`, [id]);
}

async function exportArchives(what, ids) {
  const format = await askFormat(what);
  if (format) await attempt("archive", async () => save(await chat.exportArchives.file({ format, ids })));
}

async function remove({ id, title }) {
  if (!(await confirmDelete(firstWords(title, 40)))) return;
  await attempt("archive", async () => {
    try {
      await chat.deleteArchive({ id });
    } catch (error) {
      if (error.status === 403) archiveView.forbidDelete();
      throw error;
    }
  });
}

async function importChosen(input) {
  const [file] = input.files;
  input.value = "";
  if (!file) return;
  const progress = (done, all) => notices.show("import", `Importing: ${done} of ${all} dialogs.`);
  await attempt("import", async () => notices.show("import", importWords(await importFile(chat, file, progress))));
  archives.refresh();
}

// The frame

function openList() {
  byId("archives").classList.add("open");
  byId("shade").hidden = false;
  byId("open-archives").setAttribute("aria-expanded", "true");
  byId("close-archives").focus();
}

function closeList() {
  if (!byId("archives").classList.contains("open")) return;
  byId("archives").classList.remove("open");
  byId("shade").hidden = true;
  byId("open-archives").setAttribute("aria-expanded", "false");
  byId("open-archives").focus();
}

function handle() {
  const onClick = (id, action) => byId(id).addEventListener("click", action);
  onClick("open-archives", openList);
  onClick("close-archives", closeList);
  onClick("shade", closeList);
  onClick("current", () => {
    closeList();
    closeArchive();
    composer.focus();
  });
  onClick("end", () => attempt("end", () => chat.endSession()));
  onClick("export-all", () => exportArchives("all dialogs", null));
  onClick("import", () => byId("import-file").click());
  byId("import-file").addEventListener("change", (event) => importChosen(event.target));
  onClick("sign-out", () => attempt("sign-out", signOut));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    if (byId("archives").classList.contains("open")) closeList();
    else closeArchive();
  });
  themeToggle(byId("theme"));
}

async function signOut() {
  await client.logout();
  composer.set(""); // The next one at this screen may be somebody else.
  location.reload();
}

// The start

async function start() {
  let who;
  try {
    who = await client.whoami();
  } catch (error) {
    // The server is away; the browser shows this page from its store.
    byId("trouble").textContent = `${errorWords(error)} This page tries again every few seconds.`;
    byId("trouble").hidden = false;
    setTimeout(start, RETRY_START_MS);
    return;
  }
  byId("trouble").hidden = true;
  const why = sessionStorage.getItem(WHY) ?? "";
  sessionStorage.removeItem(WHY);
  enter(who.user === null ? await signIn(client, who.developmentTokens, why) : who);
}

function enter(who) {
  me = who;
  byId("app").hidden = false;
  byId("user").textContent = who.name || who.user;
  byId("user").title = who.user;
  byId("admin").hidden = !who.roles.includes("admin");
  handle();
  listen();
  new ConnectionView(byId("connection"), client);
  client.watch(({ name }) => {
    if (name !== "signed-out") return;
    sessionStorage.setItem(WHY, "Your login has ended. Sign in again to go on.");
    location.reload();
  });
  draw();
  client.connect();
  if (matchMedia("(pointer: fine)").matches) composer.focus();
}

start();
