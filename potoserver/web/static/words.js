/** What the page says of times, reasons and errors. */

/** Why a dialog was archived, behind "because". */
export const REASONS = {
  disconnect: "you left",
  timeout: "nothing was said for a while",
  shutdown: "the server stopped",
  request: "it was ended", // by the user, or by an operator
  recovered: "the server was restarted and you did not come back",
  superseded: "you went on with another dialog",
};
const UNAVAILABLE = {
  shutdown: "The server is restarting",
  draining: "The server is restarting",
  away: "The server is restarting",
  "engine-away": "A part of the server is away",
  failed: "The server has a fault",
  "too-many-connections": "The server is full",
  "too-many-requests": "Too many tries",
  "too-many-connections-of-user": "You are connected in too many places",
};
const ERRORS = {
  0: "The server could not be reached.",
  401: "You are signed out.",
  403: "You may not do this.",
  413: "This is too long.",
  429: "Too much at once.",
  500: "The server failed.",
  502: "The model failed.",
  503: "The server has no room or time for this now.",
  504: "The model took too long.",
  507: "There is no room left.",
};
const DAY_MS = 86_400_000;

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const dayFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dateFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** @param {string} reason @returns {string} Why a dialog was archived: "because …". */
export function reasonWords(reason) {
  return reason in REASONS ? `because ${REASONS[reason]}` : `(${reason})`;
}

/** @param {?string} reason @returns {string} Why the server is not there for now. */
export function unavailableWords(reason) {
  return UNAVAILABLE[reason] ?? "The connection was lost";
}

/** @param {Date} date @returns {string} The time of the day. */
export function timeWords(date) {
  return timeFormat.format(date);
}

/** @param {Date} date @returns {string} A day, as short as it is clear: "today", "yesterday", "Monday", "3 Mar". */
export function dayWords(date, now = new Date()) {
  const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / DAY_MS);
  if (days === 0) return "today";
  if (days === 1) return "yesterday";
  if (days > 1 && days < 7) return weekdayFormat.format(date);
  return (date.getFullYear() === now.getFullYear() ? dayFormat : dateFormat).format(date);
}

/** @param {Date} date @returns {string} "10:30", or with its day when that is not today: "Monday, 10:30". */
export function momentWords(date) {
  const day = dayWords(date);
  return day === "today" ? timeWords(date) : `${day}, ${timeWords(date)}`;
}

/** @param {Date} date @returns {string} "at 10:30", or with its day when that is not today. */
export function whenWords(date) {
  return dayWords(date) === "today" ? `at ${timeWords(date)}` : momentWords(date);
}

/** @param {string} id Of an archive: the UTC time of its end. @returns {?Date} */
export function endOfArchive(id) {
  const found = /^(\d{4})-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)/.exec(id);
  if (!found) return null;
  const [year, month, ...rest] = found.slice(1).map(Number);
  return new Date(Date.UTC(year, month - 1, ...rest));
}

/** @param {number} count @param {string} one @param {string} [many] @returns {string} "1 message", "2 messages". */
export function countWords(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

/** @param {PotoError|Error} error @returns {string} What happened and what to do, for the person before the screen. */
export function errorWords(error) {
  if (error.status === undefined) return `This page has a fault: ${error.message}`;
  const said = error.status === 0 ? "" : error.detail;
  const fields = error.errors.map(({ field, message }) => `${field}: ${message}.`);
  const wait = error.retryAfterS ? `Try again in ${countWords(error.retryAfterS, "second")}.` : "";
  return [ERRORS[error.status], said, ...fields, wait].filter(Boolean).join(" ");
}

/** @param {string} text @returns {string} Its first words, as a title. */
export function firstWords(text, most = 60) {
  const folded = text.trim().replace(/\s+/g, " ");
  const characters = Array.from(folded);
  if (characters.length <= most) return folded;
  const cut = characters.slice(0, most - 1).join("");
  const blank = cut.lastIndexOf(" ");
  return `${blank > most / 2 ? cut.slice(0, blank) : cut}…`;
}
