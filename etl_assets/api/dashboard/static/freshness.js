/** What is stale and since when, and the alerts that stand. */

import { element, fill, link, table } from "./dom.js";
import { Section } from "./section.js";
import { duration, moment, time } from "./words.js";

/** The section. ``state()`` promises the page's state. */
export function freshnessSection(state) {
  return new Section("freshness", { load: state, show });
}

function show(body, state) {
  const late = state.freshness.filter((dataset) => dataset.is_stale);
  const inOrder = [...late, ...state.freshness.filter((dataset) => !dataset.is_stale)];
  fill(body, alerts(state), freshnessTable(inOrder, state.now));
}

function alerts(state) {
  if (!state.alerts.length) return element("p", { class: "verdict", "data-state": "good" }, "No alert stands.");
  const items = state.alerts.map((alert) => element("li", {},
    element("b", {}, alert.kind.replaceAll("_", " ")), " ", alert.subject, ": ", alert.message,
    element("small", {}, " since ", time(alert.raised_at, moment(alert.raised_at, state.now)))));
  return element("ul", { class: "alerts" }, items);
}

function freshnessTable(datasets, now) {
  const rows = datasets.map((dataset) => [
    link(dataset.dagster_url, dataset.title, dataset.entity && ` ${dataset.entity}`),
    time(dataset.newest_at, moment(dataset.newest_at, now)),
    standing(dataset, now),
    dataset.is_stale && dataset.stale_since ? duration(Math.max(0, now - dataset.stale_since)) : "",
  ]);
  return table("Newest record of every dataset", ["Dataset", "Newest", "Standing", "For"], rows, { numbers: [3], hidesCaption: true });
}

function standing(dataset, now) {
  if (!dataset.is_stale) return element("span", { class: "status", "data-state": "good" }, "on time");
  const since = dataset.stale_since;
  if (since === null || since === undefined) return element("span", { class: "status", "data-state": "late" }, "nothing yet");
  return element("span", { class: "status", "data-state": "late" }, "late since ", time(since, moment(since, now)));
}
