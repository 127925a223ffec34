/**
 * What is shown, built from names, attributes and children.
 *
 * Text from the data is only ever text: nothing here, or elsewhere on the page, parses it as HTML.
 */

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Attributes that are null, undefined or false are left out; functions are listeners. */
export function element(name, attributes = {}, ...children) {
  return furnished(document.createElement(name), attributes, children);
}

/** An SVG element, in the same manner. */
export function drawing(name, attributes = {}, ...children) {
  return furnished(document.createElementNS(SVG, name), attributes, children);
}

function furnished(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...present(children));
  return node;
}

/** Put these children in the place of those that are there. */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
  return node;
}

function present(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false);
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A button that does something. */
export function button(text, act, attributes = {}) {
  return element("button", { type: "button", click: act, ...attributes }, text);
}

/** Buttons of which one is pressed. ``choices`` maps values to words. */
export function choice(label, choices, chosen, choose) {
  const buttons = Object.entries(choices).map(([value, words]) =>
    button(words, () => choose(value), { "aria-pressed": String(value === chosen), "data-value": value }),
  );
  return element("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/** A link that leaves the page for Dagster, or the words alone where there is none. */
export function link(url, ...children) {
  if (!isWebAddress(url)) return element("span", {}, ...children);
  return element("a", { href: url, target: "_blank", rel: "noopener" }, ...children);
}

/** Whether an address from the figures is one to offer: never ``javascript:`` and its like. */
export function isWebAddress(url) {
  return /^https?:\/\//.test(url ?? "");
}

/** A table: its caption, its columns' heads, and rows of cells. Cells are text or nodes; ``numbers`` are set right. */
export function table(caption, heads, rows, { numbers = [], hidesCaption = false } = {}) {
  const of = (index) => (numbers.includes(index) ? "number" : null);
  const head = heads.map((text, index) => element("th", { scope: "col", class: of(index) }, text));
  const body = rows.map((cells) =>
    element("tr", {}, cells.map((cell, index) =>
      index === 0 ? element("th", { scope: "row" }, [cell].flat()) : element("td", { class: of(index) }, [cell].flat()))),
  );
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {},
      element("caption", { class: hidesCaption ? "unseen" : null }, caption),
      element("thead", {}, element("tr", {}, head)),
      element("tbody", {}, body)));
}
