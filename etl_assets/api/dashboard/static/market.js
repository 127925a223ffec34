/** Prices and demand by region over a day, a week or a month, and what is forecast. */

import { choiceOf, choose } from "./address.js";
import { button, choice, element, fill, table } from "./dom.js";
import { figures } from "./figures.js";
import { marketPicture } from "./market_plot.js";
import { draw, DRAGS, plotPlace, zoomButtons } from "./plots.js";
import { REGIONS } from "./regions.js";
import { Section } from "./section.js";
import { counted, DAY_S, moment, number, time } from "./words.js";

const SPANS = { day: "Day", week: "Week", month: "Month" };
const LENGTHS_S = { day: DAY_S, week: 7 * DAY_S, month: 31 * DAY_S };
const SCALES = { compressed: "Compressed", linear: "Linear" };

/** The section. ``newest()`` is the end of the newest interval, or null where that is not known. */
export function marketSection(newest) {
  const market = new Section("market", {
    load: (signal) => figures("/dashboard/market", window_(newest()), signal),
    show: (body, answer) => show(market, body, answer),
  });
  return market;
}

function span() {
  return choiceOf("span", "day");
}

function window_(newest) {
  return newest === null ? {} : { from: newest - (LENGTHS_S[span()] ?? DAY_S), to: newest };
}

function shownRegions(answer) {
  const there = REGIONS.filter((region) => answer.regions[region]);
  const wanted = choiceOf("regions").split(",").filter((region) => there.includes(region));
  return { there, wanted: wanted.length ? wanted : there };
}

async function show(market, body, answer) {
  const place = body.querySelector(".plot") ?? furnish(market, body);
  place.setAttribute("aria-label", summary(answer));
  showControls(market, place, answer);
  fill(body.querySelector(".note"), note(answer));
  fill(body.querySelector(".in-numbers"), element("summary", {}, "In numbers"), inNumbers(answer));
  const { wanted } = shownRegions(answer);
  await draw(place, () => marketPicture(answer, { regions: wanted, scale: choiceOf("scale", "compressed"), span: span() }));
}

function furnish(market, body) {
  const place = plotPlace("Price and demand by region", { class: "plot market-plot" });
  fill(body, element("div", { class: "toggles", role: "group", "aria-label": "Regions" }),
    place, element("p", { class: "note" }), element("details", { class: "in-numbers" }));
  return place;
}

function showControls(market, place, answer) {
  const again = (name) => (value) => {
    choose(name, value);
    market.refresh();
  };
  const redrawn = (value) => {
    choose("scale", value);
    show(market, market.body, answer);
  };
  const focused = document.activeElement?.dataset?.value;
  fill(market.controls,
    choice("Time span", SPANS, span(), again("span")),
    choice("Price scale", SCALES, choiceOf("scale", "compressed"), redrawn),
    market.zoom ??= zoomButtons(place));
  showToggles(market, answer);
  // What was pressed has been built anew: the keyboard stays where it was.
  if (focused) market.node.querySelector(`[data-value="${focused}"]`)?.focus();
}

function showToggles(market, answer) {
  const { there, wanted } = shownRegions(answer);
  const toggled = (region) => () => {
    const next = wanted.includes(region) ? wanted.filter((each) => each !== region) : [...wanted, region];
    choose("regions", next.length === there.length ? "" : next.join(","));
    show(market, market.body, answer);
  };
  fill(market.body.querySelector(".toggles"), there.map((region) =>
    button([swatch(), region], toggled(region), {
      class: "toggle", "data-region": region, "data-value": region, "aria-pressed": String(wanted.includes(region)),
    })));
}

function swatch() {
  return element("span", { class: "swatch", "aria-hidden": "true" });
}

function note(answer) {
  const limits = `Market price cap ${number(answer.price_cap)}, floor ${number(answer.price_floor)} AUD/MWh.`;
  const missing = missingIntervals(answer);
  const gaps = missing ? ` A line breaks where intervals are missing: ${counted(missing, "interval")} here.` : "";
  const ahead = answer.forecast?.issued_at ? [" Dashed: forecast issued ", time(answer.forecast.issued_at, moment(answer.forecast.issued_at)), "."] : [];
  return [limits, gaps, ...ahead, DRAGS.matches && " Drag to zoom, double-click to reset."];
}

function missingIntervals(answer) {
  return Math.max(0, ...Object.values(answer.regions).map(holes));
}

/** Intervals without a price since the first with one: before it nothing was collected. */
function holes(series) {
  const first = series.price.findIndex((price) => price !== null);
  return first < 0 ? 0 : series.price.slice(first).filter((price) => price === null).length;
}

function summary(answer) {
  const parts = Object.entries(answer.regions).map(([region, series]) => {
    const { mean, low, high } = extremes(series);
    return `${region} price mean ${number(mean)}, lowest ${number(low?.price)}, highest ${number(high?.price)}`;
  });
  return `Price and demand by region, ${moment(answer.from)} to ${moment(answer.to)} NEM time, AUD/MWh. ${parts.join("; ")}.`;
}

function extremes(series) {
  const known = series.price.map((price, index) => ({ price, at: series.interval_end[index] })).filter(({ price }) => price !== null);
  if (!known.length) return { mean: null, low: null, high: null };
  const total = known.reduce((sum, { price }) => sum + price, 0);
  const low = known.reduce((a, b) => (b.price < a.price ? b : a));
  const high = known.reduce((a, b) => (b.price > a.price ? b : a));
  return { mean: total / known.length, low, high };
}

function inNumbers(answer) {
  const rows = Object.entries(answer.regions).map(([region, series]) => {
    const { mean, low, high } = extremes(series);
    const below = series.price.filter((price) => price !== null && price < 0).length;
    const at = (extreme) => extreme && element("span", {}, number(extreme.price, 2), " at ", time(extreme.at, moment(extreme.at)));
    const demands = series.demand.filter((demand) => demand !== null);
    return [region, number(mean, 2), at(low) ?? "–", at(high) ?? "–", number(below), number(holes(series)),
      number(demands.length ? Math.max(...demands) : null)];
  });
  const heads = ["Region", "Mean price", "Lowest price", "Highest price", "Negative intervals", "Missing intervals", "Highest demand, MW"];
  return table(`Prices in AUD/MWh, ${moment(answer.from)} to ${moment(answer.to)} NEM time`, heads, rows, { numbers: [1, 2, 3, 4, 5, 6] });
}
