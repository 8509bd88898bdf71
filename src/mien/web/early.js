// Before the first paint, so that nobody who chose a theme sees the other one flash by.
(() => {
  try {
    const theme = localStorage.getItem("mien.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage can be forbidden: the system's theme it is
  }
})();
