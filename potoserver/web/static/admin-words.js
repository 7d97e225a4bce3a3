/** What the operations page says of times, causes and reasons. docs/operations.md has them all. */
import { countWords } from "./words.js";

const REASONS = {
  disconnect: "left",
  timeout: "was silent for too long",
  shutdown: "the server stopped",
  request: "ended on request",
  recovered: "a crash had left it open",
  superseded: "another dialog had to begin",
};
const CAUSES = {
  closed: "closed the connection",
  reset: "the connection was reset",
  unreachable: "the network went silent",
  lease: "gave no sign of life within the lease",
  slow: "read too slowly",
  expired: "the token expired",
  kicked: "the connection was dropped here",
  "node-lost": "the server that held it is gone",
  shutdown: "the server stopped",
};
const WAITS = {
  grace: "Leaving",
  reply: "Reply in flight",
  archive: "Being archived",
  adoption: "Left open by a crash",
  timeout: "No connection",
};
const ALARMS = {
  "sockets-full": "as many connections as the server takes",
  "connections-full": "as many event streams as the server takes",
  descriptors: "the system gives no more descriptors",
  "calls-full": "as many calls in flight as the server takes",
  "rate-limited": "a user or an address asked too much",
  "slow-senders": "a request did not come in time",
  "slow-readers": "a client reads too slowly",
  "disk-full": "no room left for dialogs",
  "disk-failing": "the disk refuses",
  "user-folder": "something odd stands in a user's folder",
  "user-full": "a user's dialogs take all their room",
  "sessions-full": "as many sessions as the server takes",
  "clock-stepped": "the machine's clock was stepped",
  "engine-away": "the engine can't be reached",
  "log-disk": "the log can't be written",
};

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @returns {string} Why a dialog was archived. */
export function endWords(reason, cause) {
  const words = REASONS[reason] ?? reason;
  return cause ? `${words}: ${causeWords(cause)}` : words;
}

export function causeWords(cause) {
  return CAUSES[cause] ?? cause;
}

/** @returns {string} What a session waits for; for a user who is simply there, that. */
export function waitWords(what) {
  return what === null ? "Connected" : (WAITS[what] ?? what);
}

/** @returns {string} What an alarm means; empty for one of a module's own. */
export function alarmWords(name) {
  return ALARMS[name] ?? "";
}

/** @param {string} iso @returns {string} The time of the day, to the second. */
export function clockWords(iso) {
  return clockFormat.format(new Date(iso));
}

/** @param {number} ms @returns {string} "8 s", "4 min", "2 h 10 min", "3 days". */
export function durationWords(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return min % 60 ? `${h} h ${min % 60} min` : `${h} h`;
  return countWords(Math.floor(h / 24), "day");
}

/** @param {?number} value @returns {string} A rate or a count, as short as it is exact enough. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0 || Number.isInteger(value)) return value.toLocaleString();
  return value.toLocaleString(undefined, { maximumFractionDigits: value < 10 ? 1 : 0 });
}

/** @param {number} seconds @returns {string} "12 ms", "1.4 s". */
export function secondsWords(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  return `${seconds.toLocaleString(undefined, { maximumFractionDigits: 1 })} s`;
}

/** @param {number} bytes @returns {string} "312 bytes", "1.4 MB". */
export function bytesWords(bytes) {
  if (bytes < 1000) return countWords(bytes, "byte");
  if (bytes < 1e6) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
