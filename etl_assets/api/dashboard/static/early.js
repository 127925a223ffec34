// Before the first paint, and so no module: the theme that was chosen here, lest the page flashes in the other one.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be refused: then it is the system's theme.
}
