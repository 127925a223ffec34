/** Dark and light: as the system says, or as chosen here; and the colours of the theme for what is not drawn by CSS. */

import { byId, element } from "./dom.js";

const WORDS = { system: "Theme: auto", light: "Theme: light", dark: "Theme: dark" };
const NEXT = { system: "light", light: "dark", dark: "system" };
const listeners = [];
const probe = document.body.appendChild(element("span", { hidden: true }));

function current() {
  return document.documentElement.dataset.theme ?? "system";
}

function remember(theme) {
  try {
    if (theme === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
  } catch {
    // Storage may be refused: the choice then holds for this visit.
  }
}

function set(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = WORDS[theme];
  listeners.forEach((listener) => listener());
}

/** The button goes from one theme to the next; a change of the system's counts as one. */
export function beginThemes() {
  byId("theme").textContent = WORDS[current()];
  byId("theme").addEventListener("click", () => {
    const theme = NEXT[current()];
    remember(theme);
    set(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set(current()));
}

/** Tell a listener when colours have changed. */
export function onTheme(listener) {
  listeners.push(listener);
}

/** A colour of the theme that holds, by its name in ``style.css`` without the dashes, as ``rgb(…)``. */
export function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** The same, let through so far (0 to 1). */
export function tint(name, opacity) {
  return colour(name).replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
}
