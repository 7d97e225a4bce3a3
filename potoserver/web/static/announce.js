import { byId } from "./dom.js";

const LONGEST = 400;
const CLEAR_MS = 10_000;
let timer = null;

/** Has a screen reader say something when it is done with what it is saying. @param {string} text */
export function announce(text) {
  const element = byId("announcements");
  element.textContent = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  clearTimeout(timer);
  timer = setTimeout(() => {
    element.textContent = ""; // Or it would be met again at the end of the page.
  }, CLEAR_MS);
}
