/**
 * Plots by plotly.js, which is loaded when the first is near: the page's first figures do without its 4.6 MB.
 *
 * A plot is a picture to screen readers, named by a sentence; what it shows is beside it in words or as a table.
 */

import { button, element } from "./dom.js";
import { colour, onTheme } from "./theme.js";
import { NEM_AHEAD_S } from "./words.js";

const SCRIPT = "/dashboard/static/plotly.min.js";
const ZOOM = 0.6;
const STEP = 0.5;

/** Fingers scroll the page over a plot; they zoom with its buttons. */
export const DRAGS = matchMedia("(pointer: fine)");

let loading = null;
const drawn = new Map();

/** plotly.js. Throws where it could not be loaded; the next call tries again. */
export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = element("script", {
      src: SCRIPT,
      load: () => resolve(window.Plotly),
      error: () => {
        loading = null;
        script.remove();
        reject(new Error("The plots' own script could not be loaded."));
      },
    });
    document.head.append(script);
  });
  return loading;
}

/** A moment, in seconds since 1970, as plotly wants its dates: NEM time as text, which no time zone moves. */
export function nemDate(at) {
  return new Date((at + NEM_AHEAD_S) * 1000).toISOString().slice(0, 19);
}

/** Moments as ``nemDate`` has them. */
export function nemDates(times) {
  return times.map(nemDate);
}

/** A place for a plot, which a sentence names. */
export function plotPlace(name, attributes = {}) {
  return element("div", { class: "plot", role: "img", "aria-label": name, ...attributes });
}

/**
 * Draw into a place, or draw anew. ``picture()`` gives traces and layout in the colours of the theme that holds.
 *
 * Zooming stays while ``layout.uirevision`` does.
 */
export async function draw(place, picture) {
  const Plotly = await plotly();
  drawn.set(place, picture);
  const { traces, layout } = picture();
  await Plotly.react(place, traces, furnished(layout), { displayModeBar: false, responsive: true, doubleClick: "reset" });
}

/** Forget plots that are no longer on the page, and free what they hold. */
export function forgetPlots() {
  for (const place of drawn.keys()) {
    if (place.isConnected) continue;
    window.Plotly?.purge(place);
    drawn.delete(place);
  }
}

onTheme(() => drawn.forEach((picture, place) => place.isConnected && draw(place, picture)));

/** An axis in the manner of the page. */
export function axis(more = {}) {
  return {
    gridcolor: colour("hairline"),
    linecolor: colour("line"),
    zeroline: false,
    tickcolor: colour("line"),
    tickfont: { color: colour("ink-2"), size: 11 },
    title: { font: { color: colour("ink-2"), size: 11 }, standoff: 6 },
    automargin: true,
    fixedrange: true,
    ...more,
  };
}

/** An axis of time in NEM time, which zooms. */
export function timeAxis(more = {}) {
  return axis({
    type: "date",
    fixedrange: false,
    showspikes: true,
    spikemode: "across",
    spikethickness: 1,
    spikedash: "dot",
    spikecolor: colour("ink-2"),
    hoverformat: "%a %-d %b %H:%M NEM time",
    tickformatstops: [
      { dtickrange: [null, 86_400_000 - 1], value: "%H:%M\n%-d %b" },
      { dtickrange: [86_400_000, null], value: "%-d %b" },
    ],
    ...more,
  });
}

function furnished(layout) {
  const font = getComputedStyle(document.body);
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: font.fontFamily, color: font.color, size: 12 },
    margin: { l: 52, r: 12, t: 8, b: 36 },
    hovermode: "x unified",
    hoverlabel: {
      bgcolor: colour("raised"),
      bordercolor: colour("line"),
      font: { family: font.fontFamily, color: colour("ink"), size: 12 },
    },
    dragmode: DRAGS.matches ? "zoom" : false,
    showlegend: false,
    ...layout,
  };
}

/** Buttons that zoom and move a plot's time axis, for those who do not drag. */
export function zoomButtons(place) {
  const shown = () => place.layout?.xaxis?.range?.map((edge) => Date.parse(`${edge}Z`.replace(" ", "T")));
  const text = (edge) => new Date(edge).toISOString().slice(0, 19);
  const show = (from, to) => window.Plotly.relayout(place, { "xaxis.range": [text(from), text(to)] });
  const scaled = (factor, shift) => () => {
    const range = shown();
    if (!range) return;
    const [from, to] = range;
    const half = ((to - from) / 2) * factor;
    const middle = (from + to) / 2 + shift * (to - from);
    show(middle - half, middle + half);
  };
  const reset = () => place.layout && window.Plotly.relayout(place, { "xaxis.autorange": true });
  return element("div", { class: "choice zoom", role: "group", "aria-label": "Zoom" },
    button("−", scaled(1 / ZOOM, 0), { "aria-label": "Zoom out" }),
    button("+", scaled(ZOOM, 0), { "aria-label": "Zoom in" }),
    button("◂", scaled(1, -STEP), { "aria-label": "Earlier" }),
    button("▸", scaled(1, STEP), { "aria-label": "Later" }),
    button("Reset", reset, { "aria-label": "Reset zoom" }));
}
