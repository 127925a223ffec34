/** What flows between the regions: a sketch, and the same as a table. */

import { drawing, element, fill, table } from "./dom.js";
import { flowMap, load } from "./flow_map.js";
import { Section } from "./section.js";
import { moment, number, percent, time } from "./words.js";

const LOADS = { idle: "idle", easy: "below 60 % of the limit", busy: "60 to 90 %", full: "90 % and more" };

/** The section. ``state()`` promises the page's state, which has the flows. */
export function flowsSection(state) {
  return new Section("flows", { load: state, show });
}

function show(body, state) {
  const lines = state.interconnectors;
  if (!lines.length) {
    fill(body, element("p", { class: "empty" }, "No flows yet: the next dispatch interval brings them."));
    return;
  }
  fill(body, flowMap(lines, state.regions, lines.map(sentence).join(" ")), legend(), flowTable(lines, state.now));
}

function ends(line) {
  return (line.flow ?? 0) < 0 ? [line.to, line.from] : [line.from, line.to];
}

function sentence(line) {
  const [from, to] = ends(line);
  return `${line.name || line.id}: ${number(line.flow === null ? null : Math.abs(line.flow))} megawatts from ${from} to ${to}, ${percent(line.utilisation)} of its limit.`;
}

function legend() {
  const entries = ["easy", "busy", "full"].map((kind) => element("li", {},
    drawing("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, drawing("line", { class: "flow", "data-load": kind, x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 5 })),
    LOADS[kind]));
  return element("ul", { class: "legend" }, entries, element("li", {}, "width: MW"));
}

function flowTable(lines, now) {
  const rows = lines.map((line) => {
    const [from, to] = ends(line);
    return [[line.name || line.id, " ", element("small", {}, line.id)], `${from} → ${to}`, number(line.flow === null ? null : Math.abs(line.flow)), percent(line.utilisation),
      `${number(line.export_limit)} / ${number(line.import_limit)}`, number(line.losses, 1)];
  });
  const newest = Math.max(...lines.map((line) => line.interval_end ?? 0));
  const busy = lines.filter((line) => load(line) === "full").map((line) => line.name || line.id);
  const shown = table("Flows by interconnector", ["Line", "Flows", "MW", "Used", "Limits, MW", "Losses"], rows, { numbers: [2, 3, 4, 5], hidesCaption: true });
  return element("div", {}, shown,
    element("p", { class: "note" }, busy.length ? `Near the limit: ${busy.join(", ")}. ` : "No line is near its limit. ", "Interval to ", time(newest, moment(newest, now)), "."));
}
