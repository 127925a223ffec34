/** What a visitor reads first: whether the data can be trusted, and how the five regions stand. */

import { byId, drawing, element, fill } from "./dom.js";
import { position } from "./price_scale.js";
import { sparkline } from "./sparkline.js";
import { clock, counted, duration, moment, NOTHING, number, time, weekday } from "./words.js";

/** Beyond this a price is a spike: ten times what a quiet day has. AUD/MWh. */
const SPIKE = 300;

const NAMES = { NSW1: "New South Wales", QLD1: "Queensland", SA1: "South Australia", TAS1: "Tasmania", VIC1: "Victoria" };
const GLYPHS = { good: "M5 12.5l4.5 4.5L19 7", late: "M12 6v8m0 3.5v.5" };

/** Show it all. */
export function showOverview(state) {
  showTrust(state);
  fill(byId("tiles"), state.regions.map((region) => tile(region, state)));
  showFrame(state);
}

function showTrust(state) {
  const late = state.freshness.filter((dataset) => dataset.is_stale);
  const isGood = !late.length && !state.open_gaps && !state.alerts.length;
  const trust = byId("trust");
  trust.dataset.state = isGood ? "good" : "late";
  const parts = [upTo(state, isGood), ...lateWords(late, state.now), ...gapWords(state), ...asideWords(state), ...alertWords(state)];
  fill(trust, glyph(isGood ? "good" : "late"), element("span", {}, parts));
}

function glyph(name) {
  return drawing("svg", { class: "glyph", viewBox: "0 0 24 24", "aria-hidden": "true" },
    drawing("circle", { cx: 12, cy: 12, r: 11 }), drawing("path", { d: GLYPHS[name] }));
}

function upTo(state, isGood) {
  const newest = state.regions.map((region) => region.interval_end).filter((at) => at !== null);
  if (!newest.length) return element("b", {}, "No prices yet");
  const end = Math.min(...newest);
  return element("b", {}, isGood ? "Data complete to " : "Data to ", time(end, moment(end, state.now)), " NEM time");
}

function lateWords(late, now) {
  if (!late.length) return [];
  const since = late.map((dataset) => dataset.stale_since).filter((at) => at !== null);
  const words = since.length ? [" late since ", time(Math.min(...since), moment(Math.min(...since), now))] : [" late"];
  return [" · ", element("a", { href: "#freshness" }, counted(late.length, "dataset"), ...words)];
}

function gapWords(state) {
  if (!state.open_gaps) return [];
  return [" · ", element("a", { href: "#completeness" }, counted(state.open_gaps, "gap"), " open")];
}

function asideWords(state) {
  if (!state.quarantined_day) return [];
  return [" · ", element("a", { href: "#freshness" }, counted(state.quarantined_day, "record"), " in quarantine today")];
}

function alertWords(state) {
  if (!state.alerts.length) return [];
  return [" · ", element("a", { href: "#freshness" }, counted(state.alerts.length, "alert"))];
}

function tile(region, state) {
  const name = region.name || NAMES[region.id] || region.id;
  return element("li", { class: "tile", "data-region": region.id },
    element("h2", {}, element("span", { class: "swatch", "aria-hidden": "true" }), element("span", { class: "name" }, name, " ", element("small", {}, region.id)), mark(region.price)),
    element("p", { class: "price" },
      element("span", { class: "amount", "data-kind": kind(region.price) }, number(region.price, 2)),
      element("span", { class: "unit" }, " AUD/MWh")),
    sparkline(region.price_trend ?? [], { zero: true, position }),
    element("dl", {},
      fact("Demand", `${number(region.demand)} MW`),
      fact("Generation", `${number(region.generation)} MW`),
      interchange(region.net_interchange),
      fact("Day’s prices", range(region))),
    freshness(region, state));
}

function kind(price) {
  if (price === null) return "none";
  return price < 0 ? "negative" : price >= SPIKE ? "spike" : "usual";
}

function mark(price) {
  const words = { negative: "negative", spike: "spike" }[kind(price)];
  return words && element("span", { class: "mark", "data-kind": kind(price) }, words);
}

function fact(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

function interchange(flow) {
  const size = flow === null ? null : Math.abs(flow);
  return fact(flow < 0 ? "Importing" : "Exporting", `${number(size)} MW`);
}

function range(region) {
  if (region.price_min_day === null) return NOTHING;
  return `${number(region.price_min_day)} … ${number(region.price_max_day)}, mean ${number(region.price_mean_day)}`;
}

function freshness(region, state) {
  if (region.interval_end === null) return element("p", { class: "as-of" }, "no interval yet");
  const behind = state.now - region.interval_end;
  const words = behind < 900 ? "" : `, ${duration(behind)} ago`;
  return element("p", { class: "as-of" }, "interval to ", time(region.interval_end, moment(region.interval_end, state.now)), words, "; line: 4 h");
}

function showFrame(state) {
  const source = byId("source");
  source.hidden = false;
  source.textContent = state.source === "demo" ? "simulated market" : state.environment;
  byId("dagster").hidden = !/^https?:/.test(state.dagster_url ?? "");
  byId("dagster").href = state.dagster_url ?? "#main";
  fill(byId("published"), "Published ", time(state.published_at, moment(state.published_at, state.now)), `, snapshot ${state.snapshot}, etl-assets ${state.version}.`);
}

/** The market's clock, from the server's: ``now`` in seconds. */
export function showClock(now) {
  fill(byId("clock"), weekday(now), " ", element("b", {}, time(now, clock(now))), " NEM time");
}
