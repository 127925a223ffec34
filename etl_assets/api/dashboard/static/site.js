/** One building: its points, the curve of one, how complete each hour was, and its weather. */

import { choiceOf, choose } from "./address.js";
import { button, byId, choice, element, fill } from "./dom.js";
import { figures } from "./figures.js";
import { draw, forgetPlots, plotPlace, zoomButtons } from "./plots.js";
import { Section } from "./section.js";
import { curveNote, curvePicture, curveSummary, heatPicture, weatherPicture } from "./site_plots.js";
import { DAY_S, dayName, fullDay, moment, number, percent, time } from "./words.js";

const SPANS = { day: "Day", week: "Week", month: "Month" };
const LENGTHS_S = { day: DAY_S, week: 7 * DAY_S, month: 31 * DAY_S };

/** What is shown of a building before a point is chosen: what it draws, rather than what comes first by name. */
const USUAL_KINDS = ["power", "electricity", "meter"];

/** Above the point that is chosen, the one before it can be seen in the list. */
const LIST_EDGE_PX = 48;

let site = null;
let parts = null;

/** Show a building in the place for it; the same again fetches what is new. */
export function showSite(chosen, now) {
  const isAnother = site?.site !== chosen.site;
  site = chosen;
  if (isAnother || !parts) begin(now);
  else Object.values(parts).forEach((part) => part.invalidate());
}

function address(what) {
  return `/dashboard/sites/${encodeURIComponent(site.site)}/${what}`;
}

function block(id, title, level = "h3") {
  return element("section", { id, class: "part", "aria-labelledby": `${id}-title` },
    element("header", {}, element(level, { id: `${id}-title` }, title), element("div", { class: "controls" })),
    element("div", { class: "body" }));
}

function begin(now) {
  Object.values(parts ?? {}).forEach((part) => part.end());
  fill(byId("site"),
    element("div", { class: "site-columns" },
      block("site-points", `Points of ${site.site}`),
      element("div", { class: "site-plots" }, block("site-curve", "Curve"), block("site-heat", "Readings by hour"), block("site-weather", "Weather"))));
  forgetPlots();
  parts = { points: pointsPart(now), curve: curvePart(), heat: heatPart(), weather: weatherPart() };
  Object.values(parts).forEach((part) => part.begin());
}

// --- points

function pointsPart(now) {
  const part = new Section("site-points", {
    load: (signal) => figures(address("points"), {}, signal),
    show: (body, answer) => showPoints(part, body, answer.points, now),
  });
  return part;
}

function showPoints(part, body, points, now) {
  const words = body.querySelector("input")?.value ?? "";
  const scrolledTo = body.querySelector("ul.points")?.scrollTop;
  const list = element("ul", { class: "points" });
  const count = element("p", { class: "note", role: "status" });
  const filtered = () => {
    const wanted = input.value.trim().toLowerCase();
    const found = points.filter((point) => `${point.point} ${point.label ?? ""} ${point.kind ?? ""}`.toLowerCase().includes(wanted));
    fill(list, found.map((point) => pointRow(point, now)));
    count.textContent = `${number(found.length)} of ${number(points.length)} points`;
  };
  const input = element("input", { type: "search", id: "filter", placeholder: "name or kind", value: words, input: filtered, autocomplete: "off", spellcheck: "false" });
  fill(body, element("p", { class: "filter" }, element("label", { for: "filter" }, "Filter"), input), count, list);
  filtered();
  const usual = points.find(({ kind }) => USUAL_KINDS.includes(kind)) ?? points[0];
  if (!points.some(({ point }) => point === choiceOf("point")) && usual) choose("point", usual.point);
  mark(list);
  const chosen = list.querySelector('[aria-pressed="true"]');
  list.scrollTop = scrolledTo ?? (chosen ? chosen.offsetTop - list.offsetTop - LIST_EDGE_PX : 0);
  parts.curve.invalidate();
}

function mark(list) {
  list.querySelectorAll("button").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.point === choiceOf("point"))));
}

function pointRow(point, now) {
  const pick = (event) => {
    choose("point", point.point);
    mark(event.currentTarget.closest("ul"));
    parts.curve.refresh();
  };
  const isChosen = point.point === choiceOf("point");
  return element("li", {},
    button([
      element("span", { class: "point-name" }, point.label || point.point),
      element("small", {}, [point.kind, point.unit].filter(Boolean).join(", ")),
      element("span", { class: "point-score", "data-state": point.score === null || point.score >= 0.98 ? "good" : "late" }, percent(point.score)),
    ], pick, { class: "point", "data-point": point.point, "aria-pressed": String(isChosen), title: `${point.point}; newest ${moment(point.newest_at, now)}` }));
}

// --- the curve

function curvePart() {
  const load = (signal) => {
    const point = choiceOf("point");
    return point ? figures(address("curve"), { point, ...window_() }, signal) : null;
  };
  const part = new Section("site-curve", { load, show: (body, answer) => showCurve(part, body, answer) });
  return part;
}

function span() {
  return choiceOf("curve", "day");
}

function window_() {
  const to = site.newest_at;
  // A stretch of readings has not its end: the newest is to be in it.
  return to ? { from: to + 1 - (LENGTHS_S[span()] ?? DAY_S), to: to + 1 } : {};
}

async function showCurve(part, body, answer) {
  if (!answer) return;
  byId("site-curve-title").textContent = answer.unit ? `${answer.point}, ${answer.unit}` : answer.point;
  const place = body.querySelector(".plot") ?? plotPlace("A point's curve");
  if (!place.isConnected) fill(body, place, element("div", { class: "note" }));
  place.setAttribute("aria-label", curveSummary(answer));
  const pick = (value) => {
    choose("curve", value);
    part.refresh();
  };
  const focused = document.activeElement?.closest("#site-curve .controls")?.contains(document.activeElement) && document.activeElement.dataset.value;
  fill(part.controls, choice("Time span of the curve", SPANS, span(), pick), part.zoom ??= zoomButtons(place));
  if (focused) part.controls.querySelector(`[data-value="${focused}"]`)?.focus();
  fill(body.querySelector(".note"), curveNote(answer));
  await draw(place, () => curvePicture(answer, `${site.site} ${answer.point} ${span()}`));
}

// --- the heat map

function heatPart() {
  const part = new Section("site-heat", {
    load: (signal) => figures(address("heat"), { day: choiceOf("day") }, signal),
    show: (body, answer) => showHeat(part, body, answer),
  });
  return part;
}

async function showHeat(part, body, answer) {
  if (!answer.points.length) {
    fill(body, element("p", { class: "empty" }, "Nothing was scored yet."));
    return;
  }
  showDays(part, answer);
  const worst = worstPoints(answer);
  const name = `Share of the readings due that came, by point and hour, ${fullDay(answer.day)}. ${worst}`;
  const place = body.querySelector(".plot") ?? plotPlace(name, { class: "plot heat-plot" });
  if (!place.isConnected) fill(body, place, element("p", { class: "note" }));
  place.setAttribute("aria-label", name);
  body.querySelector(".note").textContent = `${worst} Worst points on top; grey: nothing was due. Hours are NEM time.`;
  await draw(place, () => heatPicture(answer));
}

function showDays(part, answer) {
  const at = answer.days.indexOf(answer.day);
  const to = (day) => () => {
    choose("day", day);
    part.refresh();
  };
  const step = (sign, words, day) => button(sign, to(day), { "aria-label": words, disabled: !day });
  fill(part.controls, element("div", { class: "choice", role: "group", "aria-label": "Day of the heat map" },
    step("◂", "Day before", answer.days[at - 1]), element("span", { class: "chosen" }, dayName(answer.day)), step("▸", "Day after", answer.days[at + 1])));
}

function worstPoints(answer) {
  const means = answer.points.map((point, index) => ({ point, mean: mean(answer.share[index]) })).filter((each) => each.mean !== null && each.mean < 0.995);
  if (!means.length) return "Every point is complete.";
  const named = means.slice(0, 3).map((each) => `${shortName(each.point)} ${percent(each.mean)}`);
  return `Least complete: ${named.join(", ")}.`;
}

/** A point's name without the client and site that all of them begin with. */
function shortName(point) {
  return `/${point}`.split(`/${site.site}/`)[1] ?? point;
}

function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

// --- the weather

function weatherPart() {
  const part = new Section("site-weather", {
    load: (signal) => figures(address("weather"), {}, signal),
    show: (body, answer) => showWeather(body, answer),
  });
  return part;
}

async function showWeather(body, answer) {
  const count = answer.observed_at.length;
  if (!count) {
    fill(body, element("p", { class: "empty" }, "No weather was observed yet."));
    return;
  }
  const newest = answer.observed_at.at(-1);
  const words = `${number(answer.temperature.at(-1), 1)} °C, ${number(answer.humidity.at(-1))} % humidity, wind ${number(answer.wind_speed.at(-1), 1)}, rain ${number(answer.precipitation.at(-1), 1)}`;
  if (count < 3) {
    fill(body, element("p", { class: "note" }, `${words} at `, time(newest, moment(newest)), ". A curve follows with more observations."));
    return;
  }
  const place = body.querySelector(".plot") ?? plotPlace("Weather", { class: "plot weather-plot" });
  if (!place.isConnected) fill(body, place, element("p", { class: "note" }));
  place.setAttribute("aria-label", `Temperature and humidity. Newest: ${words}.`);
  fill(body.querySelector(".note"), `Newest: ${words} at `, time(newest, moment(newest)), ".");
  await draw(place, () => weatherPicture(answer));
}
