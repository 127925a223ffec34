/** Pictures of a building: a point's curve with its spread and gaps, readings by hour, weather. */

import { element } from "./dom.js";
import { axis, nemDates, timeAxis } from "./plots.js";
import { colour, tint } from "./theme.js";
import { counted, dayName, duration, figure, moment, number, percent } from "./words.js";

/** Cividis: lightness alone tells its values apart, whatever the eye. */
const CIVIDIS = [[0, "#00224e"], [0.25, "#3c4d6e"], [0.5, "#7d7c78"], [0.75, "#bcae6c"], [1, "#fee838"]];

/** Values so many times further apart than usual have a hole between them. */
const HOLE = 2.5;

const ROW_PX = 9;
const HEAT_PX = [120, 460];

/** A point's curve: its mean, the band between lowest and highest, gaps shaded. */
export function curvePicture(whole, uirevision) {
  const answer = broken(whole);
  const x = nemDates(answer.timestamp);
  const traces = [
    band(answer, x),
    {
      type: "scatter", mode: "lines", x, y: answer.mean, name: answer.point, connectgaps: false,
      line: { color: colour("accent"), width: 1.5 },
      customdata: answer.mean.map((_, index) => [answer.min[index], answer.max[index], answer.count[index]]),
      hovertemplate: `%{y:,.4~g} ${unitText(answer)}, %{customdata[0]:,.4~g} to %{customdata[1]:,.4~g}, %{customdata[2]} readings<extra></extra>`,
    },
  ];
  const layout = { uirevision, xaxis: timeAxis(), yaxis: axis({ tickformat: ",~g" }), shapes: answer.gaps.map(gapShape), margin: { l: 52, r: 12, t: 8, b: 36 } };
  return { traces, layout };
}

/** The area between lowest and highest: a closed shape for each stretch without a hole. */
function band(answer, x) {
  const outline = { x: [], y: [] };
  let begin = 0;
  const close = (end) => {
    const low = answer.min.slice(begin, end);
    const high = answer.max.slice(begin, end).reverse();
    const times = x.slice(begin, end);
    if (times.length) {
      outline.x.push(...times, ...times.toReversed(), null);
      outline.y.push(...low, ...high, null);
    }
    begin = end + 1;
  };
  answer.mean.forEach((value, index) => value === null && close(index));
  close(x.length);
  return { ...outline, type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", fill: "toself", fillcolor: tint("accent", 0.22) };
}

/** The curve with a null where readings are missing, so that its line breaks there. */
function broken(answer) {
  const apart = answer.timestamp.map((at, index) => at - (answer.timestamp[index - 1] ?? at));
  const usual = apart.slice(1).sort((a, b) => a - b)[Math.floor(apart.length / 2)] ?? answer.step;
  const columns = { timestamp: [], mean: [], min: [], max: [], count: [] };
  answer.timestamp.forEach((at, index) => {
    if (apart[index] > usual * HOLE) {
      columns.timestamp.push(at - usual);
      ["mean", "min", "max", "count"].forEach((name) => columns[name].push(null));
    }
    Object.keys(columns).forEach((name) => columns[name].push(answer[name][index]));
  });
  return { ...answer, ...columns };
}

/** Units come from the account: what plotly would take for its own signs is left out. */
function unitText(answer) {
  return (answer.unit ?? "").replace(/[<>%{}&]/g, "");
}

function gapShape(gap) {
  const [x0, x1] = nemDates([gap.from, gap.to]);
  return { type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, line: { width: 0 }, fillcolor: tint("late", 0.2), layer: "below" };
}

/** The curve in a sentence. */
export function curveSummary(answer) {
  const known = answer.mean.filter((value) => value !== null);
  if (!known.length) return `${answer.point}: no readings in this time.`;
  const low = answer.min.filter((value) => value !== null).reduce((a, b) => Math.min(a, b), Infinity);
  const high = answer.max.filter((value) => value !== null).reduce((a, b) => Math.max(a, b), -Infinity);
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  return `${answer.point}, ${counted(answer.timestamp.length, "value")} by ${duration(answer.step)}: mean ${figure(mean)}, lowest ${figure(low)}, highest ${figure(high)} ${answer.unit ?? ""}; ${counted(answer.gaps.length, "gap")}.`;
}

/** The curve's quality in words: the days' scores, then the gaps. */
export function curveNote(answer) {
  const days = answer.quality.map((day) => element("li", { "data-state": day.score >= 0.98 ? "good" : "late" },
    element("b", {}, percent(day.score)), ` ${dayName(day.day)}`,
    element("small", {}, ` ${number(day.actual)} of ${number(day.expected)}${day.outliers ? `, ${counted(day.outliers, "outlier")}` : ""}`)));
  const gaps = answer.gaps.slice(0, 3).map((gap) => `${moment(gap.from)} to ${moment(gap.to)}`);
  const more = answer.gaps.length > 3 ? ` and ${answer.gaps.length - 3} more` : "";
  return [
    element("p", {}, `Line: mean by ${duration(answer.step)}; band: lowest to highest. `, gaps.length ? `No readings: ${gaps.join(", ")}${more}.` : "No gap in this time."),
    element("ul", { class: "scores", "aria-label": "Readings there of those due" }, days),
  ];
}

/** Points by hours: the share of the readings due that came. */
export function heatPicture(answer) {
  const height = Math.min(HEAT_PX[1], Math.max(HEAT_PX[0], answer.points.length * ROW_PX + 50));
  const traces = [{
    type: "heatmap", z: answer.share, x: answer.hours.map(hourText), y: answer.points.map((_, index) => index),
    customdata: answer.share.map((row, index) => row.map(() => answer.points[index])),
    zmin: 0, zmax: 1, colorscale: CIVIDIS, xgap: 1, ygap: answer.points.length > 60 ? 0 : 1, hoverongaps: false,
    hovertemplate: "%{customdata} at %{x}: %{z:.0%}<extra></extra>",
    colorbar: { thickness: 10, outlinewidth: 0, tickformat: ".0%", nticks: 3, tickfont: { color: colour("ink-2"), size: 11 } },
  }];
  const layout = {
    height, hovermode: "closest", plot_bgcolor: colour("nothing"), dragmode: false, margin: { l: 12, r: 4, t: 4, b: 30 },
    xaxis: axis({ type: "category", nticks: 12, showgrid: false }), yaxis: axis({ autorange: "reversed", showticklabels: false, showgrid: false }),
  };
  return { traces, layout };
}

function hourText(hour) {
  return `${String(hour).padStart(2, "0")}:00`;
}

/** Temperature above, humidity below. */
export function weatherPicture(answer) {
  const x = nemDates(answer.observed_at);
  const common = { type: "scatter", mode: "lines", x, connectgaps: false };
  const traces = [
    { ...common, y: answer.temperature, name: "Temperature", line: { color: colour("region-qld1"), width: 1.5 }, hovertemplate: "%{y:.1f} °C" },
    { ...common, y: answer.humidity, name: "Humidity", yaxis: "y2", line: { color: colour("region-nsw1"), width: 1.2, dash: "dot" }, hovertemplate: "%{y:.0f} %" },
  ];
  const layout = {
    xaxis: timeAxis(), yaxis: axis({ ticksuffix: " °C" }), margin: { l: 52, r: 48, t: 8, b: 36 },
    yaxis2: axis({ overlaying: "y", side: "right", ticksuffix: " %", range: [0, 100], tickmode: "linear", tick0: 0, dtick: 25, showgrid: false }),
  };
  return { traces, layout };
}
