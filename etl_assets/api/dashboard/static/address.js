/**
 * What is chosen on the page, kept behind the # of its address, so that a link shows the same to others.
 *
 * ``#market`` leads to a section; ``#sites&site=tower&point=meter`` also says what is chosen in it.
 */

const chosen = new Map();
const listeners = [];

/** Take in the address; tells whether it chooses anything anew beside the section. */
function read() {
  const [first, ...rest] = location.hash.slice(1).split("&");
  const isSection = first && !first.includes("=");
  const parts = new URLSearchParams((isSection ? rest : [first, ...rest]).join("&"));
  if (isSection) chosen.set("section", decoded(first));
  // A link within the page names a section alone: what is chosen stays.
  const anew = [...parts].filter(([name, value]) => name && chosen.get(name) !== value);
  for (const [name, value] of anew) chosen.set(name, value);
  return anew.length > 0;
}

/** What stands in an address; a lone % in it, which somebody may have typed, is taken as it is. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function written() {
  const parts = new URLSearchParams([...chosen].filter(([name, value]) => name !== "section" && value));
  const section = encodeURIComponent(chosen.get("section") ?? "");
  return `#${[section, parts.toString()].filter(Boolean).join("&")}`;
}

/** What is chosen under a name, or the usual. */
export function choiceOf(name, usual = "") {
  return chosen.get(name) || usual;
}

/** Choose; the address follows, without an entry in the browser's history for each click. */
export function choose(name, value) {
  chosen.set(name, value);
  history.replaceState(null, "", written());
}

/** Tell a listener when the address changes, and whether it then chooses more than a section. */
export function onAddress(listener) {
  listeners.push(listener);
}

read();
addEventListener("hashchange", () => {
  const hasOtherChoices = read();
  history.replaceState(null, "", written());
  listeners.forEach((listener) => listener(hasOtherChoices));
});
