/** Small lines without axes, drawn by hand so that they are there before plotly is. */

import { drawing } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 30;
const EDGE = 2;

/**
 * Values as a line; null leaves a hole. ``limits`` are dashed lines where they lie near; ``zero`` marks zero and shades
 * below it. It says nothing to screen readers: the figures stand beside it.
 */
export function sparkline(values, { limits = [], zero = false, position = (value) => value } = {}) {
  const known = values.filter((value) => value !== null).map(position);
  const picture = drawing("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  if (!known.length) return picture;
  const near = nearby(limits.map(position), known);
  const low = Math.min(...known, ...near, ...(zero ? [0] : []));
  const high = Math.max(...known, ...near, ...(zero ? [0] : []));
  const y = (value) => HEIGHT - EDGE - ((value - low) / (high - low || 1)) * (HEIGHT - 2 * EDGE);
  if (zero && low < 0) picture.append(drawing("rect", { class: "below", x: 0, width: WIDTH, y: y(0), height: HEIGHT - y(0) }));
  if (zero) picture.append(rule(y(0), "zero"));
  near.forEach((limit) => picture.append(rule(y(limit), "limit")));
  picture.append(...lines(values, position, y));
  return picture;
}

function nearby(limits, known) {
  const low = Math.min(...known);
  const high = Math.max(...known);
  const span = high - low || Math.abs(high) || 1;
  return limits.filter((limit) => limit >= low - 2 * span && limit <= high + 2 * span);
}

function rule(y, name) {
  return drawing("line", { class: name, x1: 0, x2: WIDTH, y1: y, y2: y });
}

function lines(values, position, y) {
  const step = (WIDTH - 2 * EDGE) / Math.max(values.length - 1, 1);
  const runs = [[]];
  values.forEach((value, index) => {
    if (value === null) runs.push([]);
    else runs.at(-1).push(`${(EDGE + index * step).toFixed(1)},${y(position(value)).toFixed(1)}`);
  });
  return runs.filter((run) => run.length).map((run) =>
    // A lone value would be a line of no length.
    drawing("polyline", { points: (run.length === 1 ? [run[0], run[0]] : run).join(" ") }));
}
