/** KPIs of a market day: values by entity against their thresholds, and their last 30 days. */

import { element, fill, link } from "./dom.js";
import { figures } from "./figures.js";
import { Section } from "./section.js";
import { sparkline } from "./sparkline.js";
import { figure, fullDay } from "./words.js";

const WORDS = { ok: "ok", above: "above", below: "below", "": "" };

/** The section. */
export function kpisSection() {
  return new Section("kpis", { load: (signal) => figures("/dashboard/kpis", {}, signal), show });
}

function show(body, answer) {
  if (!answer.kpis.length) {
    fill(body, element("p", { class: "empty" }, "No KPI is active: see `etl-assets kpi check`."));
    return;
  }
  const [valued, others] = [answer.kpis.filter((kpi) => kpi.values.length), answer.kpis.filter((kpi) => !kpi.values.length)];
  fill(body,
    element("p", { class: "note" }, answer.day ? `Market day ${fullDay(answer.day)}; lines are the last ${answer.days?.length > 1 ? "days" : "day"}, dashes the thresholds.` : "No KPI has been computed yet."),
    element("ul", { class: "kpis" }, [...valued, ...others].map(tile)));
}

function tile(kpi) {
  const crossed = kpi.values.filter((value) => value.status === "above" || value.status === "below");
  return element("li", { class: "kpi", "data-kpi": kpi.id, "data-state": crossed.length ? "late" : "good" },
    element("h3", { title: kpi.description }, link(kpi.dagster_url, kpi.name), kpi.unit && element("small", {}, ` ${kpi.unit}`)),
    verdict(kpi, crossed),
    kpi.values.length ? element("ul", { class: "entities" }, kpi.values.map((value) => row(kpi, value))) : null,
    runWords(kpi));
}

function verdict(kpi, crossed) {
  const { high, low } = kpi.thresholds ?? {};
  const limits = [high !== null && high !== undefined && `high ${figure(high)}`, low !== null && low !== undefined && `low ${figure(low)}`].filter(Boolean);
  if (!kpi.values.length) return element("p", { class: "thresholds" }, kpi.workflow ? "a workflow, without values here" : "no value of this day yet");
  if (!limits.length) return element("p", { class: "thresholds" }, "no thresholds");
  const word = crossed.length ? `${crossed.length} of ${kpi.values.length} beyond threshold` : "within thresholds";
  return element("p", { class: "thresholds" }, element("span", { class: "status", "data-state": crossed.length ? "late" : "good" }, word), ` ${limits.join(", ")}`);
}

function row(kpi, value) {
  const limits = [kpi.thresholds?.high, kpi.thresholds?.low].filter((limit) => limit !== null && limit !== undefined);
  const word = WORDS[value.status] ?? value.status;
  return element("li", {},
    element("span", { class: "entity", title: value.entity || null }, value.entity || "all"),
    sparkline(value.history?.value ?? [], { limits }),
    element("span", { class: "value" }, figure(value.value)),
    word && word !== "ok" ? element("span", { class: "mark", "data-kind": "limit" }, word) : element("span", { class: "unseen" }, word));
}

function runWords(kpi) {
  if (!kpi.run) return null;
  const { status, error } = kpi.run;
  const words = kpi.workflow ? `workflow ${status}` : status === "completed" || status === "success" ? "" : status;
  if (!words && !error) return null;
  return element("p", { class: "run", "data-state": error ? "late" : "good" }, words, error && `: ${error}`);
}
