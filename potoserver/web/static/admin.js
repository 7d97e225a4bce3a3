/** The operations page: puts its parts together. */
import { announce } from "./announce.js";
import { byId, el } from "./dom.js";
import { Alarms, ArchivedFeed, HookFeed } from "./feeds.js";
import { setText } from "./live-list.js";
import { confirmAction } from "./modals.js";
import { NodeFeed, NodeNames } from "./nodes.js";
import { PeopleTable } from "./people-table.js";
import { People } from "./people.js";
import { Place } from "./place.js";
import { PotoClient } from "./poto-client.js";
import { signIn } from "./signin.js";
import { themeToggle } from "./theme-toggle.js";
import { Tiles } from "./tiles.js";
import { Watch } from "./watch.js";
import { countWords, errorWords } from "./words.js";

const ROWS = 200;
const TYPING_MS = 300;
const RETRY_START_MS = 3_000;
/** What shows which half of the page. */
const MODULES = {
  view: { name: "operations", shows: "users, connections, hooks and alarms" },
  seen: { name: "chat_server", shows: "sessions and archives" },
};

let me = null;
const client = new PotoClient({
  onLogin: (user) => {
    if (user !== (me?.user ?? null)) location.reload();
  },
});
const operations = client.module("Operations");
const chat = client.module("ChatServerModule");

/** The server's time: its clock and this machine's need not agree. */
const clock = {
  aheadMs: 0,
  now: () => Date.now() + clock.aheadMs,
};
const now = { view: null, seen: null };
const states = { view: { name: "off" }, seen: { name: "off" } };
const names = new NodeNames();
const people = new People();
const tiles = new Tiles(byId("tiles"));
const alarms = new Alarms(byId("alarms"), names, clock);
const archived = new ArchivedFeed(byId("archived"), byId("no-archive"));
const hooks = new HookFeed(byId("hooks"), byId("hooks-count"), byId("no-hook"), names, clock);
const nodes = new NodeFeed(byId("nodes-panel"), byId("nodes"), names, clock);
const table = new PeopleTable(byId("people"), names, clock, { end, drop, leave });

// What comes

const watches = [
  new Watch(operations.watch, takeView, (state) => changed("view", state)),
  new Watch(chat.watchSessions, takeSeen, (state) => changed("seen", state)),
];
const place = new Place((isHeld) => {
  if (isHeld) begin();
  else for (const watch of watches) watch.stop();
});

function begin() {
  const args = { search: byId("filter").value.trim(), limit: ROWS };
  for (const watch of watches) watch.start(args);
}

function takeView(view) {
  clock.aheadMs = Date.parse(view.at) - Date.now();
  now.view = view;
  names.take(view.nodes);
  people.takeView(view);
  alarms.show(view);
  hooks.show(view.hooks);
  nodes.show(view);
  draw();
}

function takeSeen(seen) {
  clock.aheadMs = Date.parse(seen.at) - Date.now();
  now.seen = seen;
  people.takeSessions(seen);
  archived.take(seen);
  draw();
}

function draw() {
  tiles.show(now);
  const rows = people.rows();
  table.show(rows);
  const isFiltered = byId("filter").value.trim() !== "";
  const isCut = rows.length >= ROWS;
  byId("nobody").hidden = rows.length > 0 || !now.view;
  setText(byId("nobody"), isFiltered ? "Nobody matches." : "Nobody is here.");
  const all = (now.seen?.active ?? 0) + (now.seen?.pendingArchives ?? 0);
  const shown = isFiltered || isCut ? `${countWords(rows.length, "row")} of ${countWords(all, "session")}` : "";
  setText(byId("people-count"), isCut ? `${shown}; filter to find others` : shown);
}

setInterval(() => {
  if (document.hidden || byId("app").hidden) return;
  const isLive = (name) => states[name].name === "live";
  tiles.tick({ view: isLive("view") ? now.view : null, seen: isLive("seen") ? now.seen : null });
  table.tick();
  alarms.tick();
  hooks.tick();
  nodes.tick();
  showState();
}, 1000);

// How the streams are

let said = null;

function changed(name, state) {
  states[name] = state;
  if (state.name === "refused" && state.error.status === 401) {
    signedOut();
    return;
  }
  showState();
}

function showState() {
  const [kind, text, button] = stateWords();
  const element = byId("connection");
  element.dataset.state = kind;
  if (element.dataset.kind !== `${kind} ${Boolean(button)}`) {
    element.dataset.kind = `${kind} ${Boolean(button)}`;
    element.replaceChildren(el(`span.dot.${kind}`, { "aria-hidden": "true" }), el("span", {}));
    if (button) element.append(el("button.quiet", { type: "button", onclick: button[1] }, button[0]));
  }
  setText(element.querySelector("span:not(.dot)"), text);
  const words = Object.keys(MODULES).filter((name) => isMissing(states[name])).map(missingWords).join(" ");
  setText(byId("missing"), words);
  byId("missing").hidden = words === "";
  document.body.classList.toggle("stale", !Object.values(states).every((each) => each.name === "live" || isMissing(each)));
  if (said !== null && said !== kind) announce(kind === "good" ? "Live again" : text);
  if (said !== null || kind === "good") said = kind; // That it is live at first goes without saying.
}

/** @returns {[string, string, ?[string, Function]]} How it is, in words, and what can be done. */
function stateWords() {
  const both = [states.view, states.seen];
  const refused = both.find(({ name }) => name === "refused");
  const lost = both.find(({ name }) => name === "reconnecting");
  if (lost) {
    const leftS = Math.max(0, Math.ceil((lost.retryAtMs - Date.now()) / 1000));
    const again = ["Try now", () => watches.forEach((watch) => watch.retryNow())];
    const why = lost.error.status === 429 ? "Open in too many places. " : "";
    return ["warn", leftS ? `${why}Reconnecting in ${leftS} s` : `${why}Reconnecting…`, again];
  }
  if (refused) return ["bad", isMissing(refused) ? "A module is not running" : errorWords(refused.error), ["Try again", begin]];
  if (both.every(({ name }) => name === "live")) return ["good", "Live"];
  if (both.every(({ name }) => name === "off")) return ["off", "Paused: live in other tabs", ["Watch here", () => place.take()]];
  return ["warn", "Connecting…"];
}

/** Whether the server knows no such method. */
function isMissing({ name, error }) {
  return name === "refused" && error.status === 404;
}

/** @returns {string} What a server without a module does not show, and what to do. */
function missingWords(name) {
  const module = MODULES[name];
  return `This server runs without the module ${module.name}, so ${module.shows} are not shown. Add "${module.name}" to the list modules in its settings, restart it, and try again.`;
}

async function signedOut() {
  place.end();
  byId("app").hidden = true;
  const { developmentTokens } = await client.whoami();
  await signIn(client, developmentTokens, "Your login has ended. Sign in again to go on.");
  location.reload();
}

// What can be done

async function end({ userId, session }) {
  const text = `The dialog of “${userId}” is archived now. Who is connected begins a new one with the next message.`;
  if (!(await confirmed("End this session?", text, "End session"))) return;
  await attempt(async () => {
    const ended = await chat.endUserSession({ userId, conversationId: session.conversationId });
    if (ended.conversationId === null) return `The session of “${userId}” had ended already.`;
    return ended.archiveId ? `The session of “${userId}” has ended, archived as ${ended.archiveId}.` : `The session of “${userId}” has ended; it held no message.`;
  });
}

async function drop({ id, userId }) {
  const text = `The connection ${id} of “${userId}” is closed. Its client may come back at once by itself: to keep somebody out, take the token away.`;
  if (!(await confirmed("Drop this connection?", text, "Drop"))) return;
  await attempt(async () => {
    const { dropped } = await operations.dropConnection({ connection: id });
    return dropped ? `A connection of “${userId}” was dropped.` : "This connection had ended already.";
  });
}

/** @returns {Promise<?boolean>} The answer; the focus is somewhere also where its button went meanwhile. */
async function confirmed(title, text, yes) {
  const opener = document.activeElement;
  const answer = await confirmAction(title, text, yes);
  if (!opener.checkVisibility()) leave();
  return answer;
}

/** Where the focus goes when what had it is gone. */
function leave() {
  byId("people-title").focus();
}

/** Does something and says what came of it, in sight and aloud. */
async function attempt(action) {
  const element = byId("said");
  let text;
  let isFault = false;
  try {
    text = await action();
  } catch (error) {
    text = errorWords(error);
    isFault = true;
  }
  element.classList.toggle("error", isFault);
  element.textContent = text;
  element.hidden = false;
  announce(text);
}

// The start

async function start() {
  let who;
  try {
    who = await client.whoami();
  } catch {
    setTimeout(start, RETRY_START_MS);
    return;
  }
  enter(who.user === null ? await signIn(client, who.developmentTokens) : who, who.developmentTokens);
}

function enter(who, developmentTokens) {
  me = who;
  if (!who.roles.includes("admin")) {
    refuse(who, developmentTokens);
    return;
  }
  byId("app").hidden = false;
  setText(byId("user"), who.name || who.user);
  let timer = null;
  byId("filter").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(begin, TYPING_MS);
  });
  byId("sign-out").addEventListener("click", async () => {
    await client.logout();
    location.reload();
  });
  themeToggle(byId("theme"));
  place.begin();
}

/** Who is not an operator is told so. */
function refuse(who, developmentTokens) {
  const view = byId("refused");
  setText(byId("refused-words"), `You are signed in as “${who.name || who.user}”, who has not the role admin that this page needs.`);
  view.hidden = false;
  view.querySelector("h1").focus();
  byId("as-another").onclick = async () => {
    view.hidden = true;
    enter(await signIn(client, developmentTokens), developmentTokens);
  };
}

start();
