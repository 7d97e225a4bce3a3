import { el, icon } from "./dom.js";

const THEMES = ["system", "light", "dark"];
const PATHS = {
  system: "M3 4h14v9H3zM7 17h6m-3-4v4",
  light: "M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7M10 2v1.500m0 13V18m8-8h-1.500m-13 0H2m13.700-5.700-1.100 1.100M5.400 14.600l-1.100 1.100m11.400 0-1.100-1.100M5.400 5.400 4.300 4.300",
  dark: "M16.500 12A7 7 0 0 1 8 3.500a7 7 0 1 0 8.500 8.500",
};

/** A button that goes from the system's theme to light, to dark, and back. @param {HTMLButtonElement} button */
export function themeToggle(button) {
  const show = () => {
    const theme = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    const words = `Theme: ${theme}. Change to ${next}`;
    button.replaceChildren(icon(PATHS[theme]), el("span.hidden", {}, words));
    button.title = words;
    button.onclick = () => {
      if (next === "system") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      localStorage.setItem("poto-theme", next);
      show();
    };
  };
  show();
}
