/** A sketch of the five regions with the interconnectors between them; distances and coasts are not to scale. */

import { drawing } from "./dom.js";
import { number, percent } from "./words.js";

/** Corners of the regions, degrees east and south; as few as let each be recognised. */
const OUTLINES = {
  QLD1: [[138, 26], [138, 19.2], [146.8, 19.2], [148.2, 20], [149.3, 21.4], [150.8, 23.4], [152.9, 25.2], [153.1, 26.5], [153.5, 28.2], [152, 28.4], [151.3, 29], [141, 29], [141, 26]],
  NSW1: [[141, 29], [151.3, 29], [152, 28.4], [153.5, 28.2], [153.1, 30.2], [152.9, 31.6], [151.6, 33.1], [151.1, 34.2], [150.3, 35.8], [149.9, 37.5], [148.2, 36.8], [147, 36.05], [145, 35.9], [143.4, 34.8], [142.2, 34.2], [141, 34]],
  VIC1: [[141, 34], [142.2, 34.2], [143.4, 34.8], [145, 35.9], [147, 36.05], [148.2, 36.8], [149.9, 37.5], [148.2, 37.9], [147, 38.4], [146.3, 39.1], [145.3, 38.4], [144.6, 38.3], [143.5, 38.8], [142, 38.3], [141, 38.1]],
  SA1: [[132.5, 26], [141, 26], [141, 38.1], [139.8, 37.2], [139, 35.6], [138.2, 35.6], [138.1, 34.4], [137.5, 35.2], [136.9, 35.3], [137.4, 33.9], [137.8, 32.6], [136.9, 33.8], [135.9, 34.9], [135.2, 33.8], [134, 32.6], [132.5, 32]],
  TAS1: [[144.7, 40.7], [146.3, 41.1], [148.2, 40.8], [148.3, 42.1], [147.9, 43.1], [146.8, 43.6], [145.6, 42.8], [144.8, 41.5]],
};

const PLACES = { QLD1: [145.2, 22.6], NSW1: [146.3, 31.6], VIC1: [144.3, 36.75], SA1: [136.2, 28.6], TAS1: [146.5, 42.1] };

/** Where the known interconnectors run on the sketch, and where their figures stand. */
const ROUTES = {
  "NSW1-QLD1": { from: [148.6, 30.7], to: [148.6, 25.2], label: [148, 27.2, "end"] },
  "N-Q-MNSP1": { from: [152.3, 30.6], to: [152.3, 25.9], label: [154.2, 27.6, "start"] },
  "VIC1-NSW1": { from: [147.2, 37.2], to: [149.3, 33.4], label: [151.9, 35.2, "start"] },
  "V-SA": { from: [142.6, 37.5], to: [138.9, 36.1], label: [137.9, 37.4, "end"] },
  "V-S-MNSP1": { from: [143, 35.6], to: [138.9, 33.2], label: [138.6, 31.5, "end"] },
  "T-V-MNSP1": { from: [146.4, 40.9], to: [145.9, 38.2], label: [147.4, 39.7, "start"] },
};

const WEST = 129.2;
const NORTH = 19;
const SCALE = 21;
const SHRINK = 0.87;
const WIDTH = 600;
const HEIGHT = 530;

/** Lines of 2 to 11 units; the widest is at 1,500 MW and more. */
const WIDEST_MW = 1500;
/** Below this a line carries nothing worth an arrow. MW. */
const IDLE_MW = 1;

function place([east, south]) {
  return [(east - WEST) * SCALE * SHRINK, (south - NORTH) * SCALE];
}

/** How busy a line is: ``idle``, ``easy``, ``busy`` from 60 %, ``full`` from 90 % of its limit. */
export function load(line) {
  if (line.flow === null || Math.abs(line.flow) < IDLE_MW) return "idle";
  const used = line.utilisation ?? 0;
  return used >= 0.9 ? "full" : used >= 0.6 ? "busy" : "easy";
}

/** The sketch. */
export function flowMap(interconnectors, regions, name) {
  return drawing("svg", { class: "map", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name },
    Object.entries(OUTLINES).map(([region, corners]) => outline(region, corners)),
    interconnectors.flatMap((line) => arrow(line)),
    regions.filter((region) => PLACES[region.id]).map(regionLabel),
    interconnectors.map((line) => lineLabel(line)));
}

function outline(region, corners) {
  const points = corners.map((corner) => place(corner).map((value) => value.toFixed(1)).join(",")).join(" ");
  return drawing("polygon", { class: "land", "data-region": region, points });
}

function regionLabel(region) {
  const [x, y] = place(PLACES[region.id]);
  return drawing("text", { class: "region-label", x, y, "text-anchor": "middle" },
    drawing("tspan", { class: "name", x }, region.id),
    drawing("tspan", { class: "value", x, dy: 17 }, `${number(region.price, 2)}`));
}

function routeOf(line) {
  const known = ROUTES[line.id];
  if (known) return known;
  const [from, to] = [PLACES[line.from], PLACES[line.to]];
  if (!from || !to) return null;
  return { from, to, label: [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2, "middle"] };
}

function arrow(line) {
  const route = routeOf(line);
  if (!route) return [];
  const [start, end] = (line.flow ?? 0) < 0 ? [route.to, route.from] : [route.from, route.to];
  const width = 2 + 9 * Math.min(Math.abs(line.flow ?? 0) / WIDEST_MW, 1);
  const { shaft, head } = arrowShape(place(start), place(end), width);
  const kind = load(line);
  const body = drawing("polyline", { class: "flow", "data-load": kind, points: shaft, "stroke-width": width.toFixed(1) });
  return kind === "idle" ? [body] : [body, drawing("polygon", { class: "flow-head", "data-load": kind, points: head })];
}

function arrowShape([x1, y1], [x2, y2], width) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  const size = 8 + width;
  const [bx, by] = [x2 - ux * size, y2 - uy * size];
  const half = 4 + width * 0.8;
  const corners = [[x2, y2], [bx - uy * half, by + ux * half], [bx + uy * half, by - ux * half]];
  const text = (points) => points.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" ");
  return { shaft: text([[x1, y1], [bx + ux, by + uy]]), head: text(corners) };
}

function lineLabel(line) {
  const route = routeOf(line);
  if (!route) return null;
  const [x, y] = place(route.label);
  return drawing("text", { class: "line-label", x, y, "text-anchor": route.label[2] },
    drawing("tspan", { class: "value", x }, `${number(line.flow === null ? null : Math.abs(line.flow))} MW`),
    drawing("tspan", { class: "name", x, dy: 14 }, `${line.name || line.id} · ${percent(line.utilisation)}`));
}
