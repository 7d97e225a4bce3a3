// Run before anything is drawn, so that a page never shows the wrong theme first.
(() => {
  try {
    const theme = localStorage.getItem("poto-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // No storage: the system's theme it is.
  }
})();
