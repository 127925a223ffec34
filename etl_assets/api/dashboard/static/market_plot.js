/** The picture of the market: prices above, demand below, over one axis of time. */

import { axis, nemDate, nemDates, timeAxis } from "./plots.js";
import { position, priceTicks } from "./price_scale.js";
import { regionColour } from "./regions.js";
import { colour, tint } from "./theme.js";

/** Room above the highest and below the lowest price, as a share of what lies between. */
const MARGIN = 0.05;

/** Room between two names at the lines' ends, as a share of the axis. */
const APART = 0.075;

/** Traces and layout of an answer of ``/dashboard/market``. */
export function marketPicture(answer, { regions, scale, span }) {
  const place = scale === "linear" ? (price) => price : position;
  const traces = regions.flatMap((region) => actual(region, answer.regions[region], place));
  const ahead = Object.entries(answer.forecast?.regions ?? {}).filter(([region]) => regions.includes(region));
  traces.push(...ahead.flatMap(([region, series]) => forecast(region, series, place)));
  return { traces, layout: layout(answer, { regions, scale, span, place, isAhead: ahead.length > 0 }) };
}

function actual(region, series, place) {
  const x = nemDates(series.interval_end);
  const line = { color: colour(regionColour(region)), width: 1.4, simplify: true };
  const common = { type: "scatter", mode: "lines", name: region, x, line, connectgaps: false };
  return [
    { ...common, y: series.price.map(place), customdata: series.price, hovertemplate: "%{customdata:,.2f} AUD/MWh" },
    { ...common, y: series.demand, yaxis: "y2", hovertemplate: "%{y:,.0f} MW" },
  ];
}

function forecast(region, series, place) {
  const x = nemDates(series.interval_end);
  const line = { color: colour(regionColour(region)), width: 1.4, dash: "4px,3px" };
  const common = { type: "scatter", mode: "lines", name: `${region} forecast`, x, line, opacity: 0.6 };
  return [
    { ...common, y: series.price.map(place), customdata: series.price, hovertemplate: "%{customdata:,.2f} AUD/MWh" },
    { ...common, y: series.demand, yaxis: "y2", hovertemplate: "%{y:,.0f} MW" },
  ];
}

function layout(answer, { regions, scale, span, place, isAhead }) {
  const ticks = scale === "linear" ? { tickformat: "," } : priceTicks;
  return {
    uirevision: `${span} ${scale}`,
    hoversubplots: "axis",
    margin: { l: 56, r: 46, t: 20, b: 36 },
    xaxis: timeAxis({ anchor: "y2" }),
    yaxis: axis({ domain: [0.4, 1], range: priceRange(answer, regions, place), ...ticks }),
    yaxis2: axis({ domain: [0, 0.32], tickformat: ",", rangemode: "normal", nticks: 5 }),
    shapes: [belowZero(answer, place), ...limits(answer, place), ...(isAhead ? [nowLine(answer)] : [])],
    annotations: [named("Price, AUD/MWh", 1), named("Demand, MW", 0.32), ...lineNames(answer, regions)],
  };
}

/** From the lowest to the highest price that is shown, and zero; the market's limits are drawn where they lie within. */
function priceRange(answer, regions, place) {
  const series = regions.flatMap((region) => [answer.regions[region], answer.forecast?.regions?.[region]]).filter(Boolean);
  const known = series.flatMap(({ price }) => price).filter((price) => price !== null);
  const low = place(known.reduce((a, b) => Math.min(a, b), 0));
  const high = place(known.reduce((a, b) => Math.max(a, b), 1));
  const edge = (high - low) * MARGIN;
  return [low - edge, high + edge];
}

function belowZero(answer, place) {
  const floor = place(Math.min(answer.price_floor ?? -1000, -1000) * 10);
  return { type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: floor, y1: 0, layer: "below", line: { width: 0 }, fillcolor: tint("negative", 0.09) };
}

function limits(answer, place) {
  const line = { color: colour("bad"), width: 1, dash: "dot" };
  const known = [answer.price_cap, answer.price_floor].filter((limit) => limit !== null && limit !== undefined);
  return known.map((limit) => ({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: place(limit), y1: place(limit), line }));
}

function nowLine(answer) {
  const at = nemDate(answer.to);
  return { type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1, line: { color: colour("ink-2"), width: 1, dash: "dot" } };
}

function named(text, y) {
  return { text, xref: "paper", yref: "paper", x: 0, y, xanchor: "left", yanchor: "bottom", showarrow: false, font: { color: colour("ink-2"), size: 11 } };
}

/** The regions' names at the ends of their lines of demand, apart from each other. */
function lineNames(answer, regions) {
  const ends = regions.map((region) => ({ region, value: answer.regions[region].demand.findLast((demand) => demand !== null) }))
    .filter(({ value }) => value !== undefined);
  const all = regions.flatMap((region) => answer.regions[region].demand).filter((demand) => demand !== null);
  const low = all.reduce((a, b) => Math.min(a, b), Infinity);
  const span = all.reduce((a, b) => Math.max(a, b), -Infinity) - low || 1;
  let last = -Infinity;
  return ends.sort((a, b) => a.value - b.value).map(({ region, value }) => {
    last = Math.max((value - low) / span, last + APART * 2.2);
    return { text: region, xref: "paper", yref: "paper", x: 1.005, y: 0.32 * Math.min(last, 1.1), xanchor: "left", yanchor: "middle", showarrow: false, font: { color: colour(regionColour(region)), size: 11 } };
  });
}
