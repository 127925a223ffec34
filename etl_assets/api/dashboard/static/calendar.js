/** How complete every dataset is, day by day over a month; each day leads to its partition in Dagster. */

import { choiceOf, choose } from "./address.js";
import { button, drawing, element, fill, isWebAddress } from "./dom.js";
import { figures } from "./figures.js";
import { Section } from "./section.js";
import { dayName, fullDay, monthName, number } from "./words.js";

/** Each state by a shape of its own, so that colour is not needed to tell them apart. */
const SHAPES = {
  complete: "M4 4h12v12H4z",
  partial: "M4 16V4l12 12z",
  missing: "M5 5l10 10M15 5L5 15",
  open: "M10 4.5a5.5 5.5 0 1 0 .01 0z",
  future: "M9 10h2",
  before: "",
};
const WORDS = {
  complete: "complete", partial: "partial", missing: "missing", open: "open, not all due yet", future: "not begun", before: "before the start",
};
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** The section. */
export function calendarSection() {
  const calendar = new Section("completeness", {
    load: (signal) => figures("/dashboard/calendar", { month: choiceOf("month") }, signal),
    show: (body, answer) => show(calendar, body, answer),
  });
  return calendar;
}

function show(calendar, body, answer) {
  showMonths(calendar, answer);
  const days = (answer.datasets[0]?.days ?? []).map(({ day }) => day);
  if (!days.length) {
    fill(body, element("p", { class: "empty" }, "Nothing was due in this month."));
    return;
  }
  const at = body.querySelector(".calendar-scroll")?.scrollLeft;
  const grid = element("div", { class: "calendar", role: "grid", "aria-label": `Completeness in ${monthName(answer.month)}`, keydown: moveOn },
    headRow(days), answer.datasets.map(row));
  const scroll = element("div", { class: "calendar-scroll" }, grid);
  fill(body, verdict(answer), scroll, legend());
  firstFocus(grid);
  scroll.scrollLeft = at ?? newestColumn(grid, scroll);
}

function showMonths(calendar, answer) {
  const index = answer.months.indexOf(answer.month);
  const to = (month) => () => {
    choose("month", month);
    calendar.refresh();
  };
  const step = (words, month) => button(words[0], to(month), { "aria-label": words[1], disabled: !month });
  fill(calendar.controls, element("div", { class: "choice", role: "group", "aria-label": "Month" },
    step(["◂", "Month before"], answer.months[index - 1]),
    element("span", { class: "chosen", "aria-live": "polite" }, monthName(answer.month)),
    step(["▸", "Month after"], answer.months[index + 1])));
}

function verdict(answer) {
  const bad = answer.datasets.flatMap((dataset) => dataset.days
    .filter(({ state }) => state === "partial" || state === "missing")
    .map((day) => ({ dataset, day })));
  if (!bad.length) return element("p", { class: "verdict", "data-state": "good" }, "No day of the month fails its check. Single readings may be missing: see the buildings.");
  const words = bad.slice(0, 3).map(({ dataset, day }) => `${titleOf(dataset)} ${dayName(day.day)}`);
  const more = bad.length > 3 ? ` and ${number(bad.length - 3)} more` : "";
  return element("p", { class: "verdict", "data-state": "late" }, `Incomplete: ${words.join(", ")}${more}.`);
}

function titleOf(dataset) {
  return dataset.entity ? `${dataset.title}, ${dataset.entity}` : dataset.title;
}

function headRow(days) {
  const heads = days.map((day) => {
    const isMonday = new Date(`${day}T00:00:00Z`).getUTCDay() === 1;
    return element("span", { role: "columnheader", class: isMonday ? "day monday" : "day", "aria-label": dayName(day) }, String(Number(day.slice(8))));
  });
  return element("div", { role: "row", class: "calendar-row" }, element("span", { role: "columnheader", class: "dataset" }, element("span", { class: "unseen" }, "Dataset")), heads);
}

function row(dataset) {
  return element("div", { role: "row", class: "calendar-row" },
    element("span", { role: "rowheader", class: "dataset", title: dataset.dataset }, dataset.title, dataset.entity && element("small", {}, ` ${dataset.entity}`)),
    dataset.days.map((day) => cell(dataset, day)));
}

function cell(dataset, day) {
  const words = `${titleOf(dataset)}, ${fullDay(day.day)}: ${WORDS[day.state] ?? day.state}${counts(day)}`;
  const attributes = { class: "cell", "data-state": day.state, "data-day": day.day, title: words, "aria-label": words, tabindex: "-1" };
  const isLink = isWebAddress(day.dagster_url) && day.state !== "before" && day.state !== "future";
  const inner = isLink
    ? element("a", { ...attributes, href: day.dagster_url, target: "_blank", rel: "noopener" }, shape(day.state))
    : element("span", { ...attributes, role: "img" }, shape(day.state));
  return element("span", { role: "gridcell" }, inner);
}

function counts(day) {
  return day.expected ? `, ${number(day.there)} of ${number(day.expected)}` : "";
}

function shape(state) {
  return drawing("svg", { viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" }, drawing("path", { d: SHAPES[state] ?? "" }));
}

function legend() {
  const entries = ["complete", "partial", "missing", "open", "future"].map((state) =>
    element("li", {}, element("span", { class: "cell", "data-state": state, "aria-hidden": "true" }, shape(state)), WORDS[state]));
  return element("ul", { class: "legend" }, entries, element("li", {}, "a day leads to its partition in Dagster; arrow keys move"));
}

/** One cell at a time is in the order of the tab key; arrows move on from it. */
function firstFocus(grid) {
  const cells = [...grid.querySelectorAll(".cell")];
  const wanted = cells.find((each) => ["partial", "missing"].includes(each.dataset.state)) ?? cells.findLast((each) => each.tagName === "A") ?? cells[0];
  wanted?.setAttribute("tabindex", "0");
}

function moveOn(event) {
  const move = MOVES[event.key];
  const rows = [...event.currentTarget.querySelectorAll(".calendar-row")].map((each) => [...each.querySelectorAll(".cell")]).filter((cells) => cells.length);
  const at = rows.findIndex((cells) => cells.includes(event.target));
  if (!move || at < 0) return;
  const target = rows[at + move[0]]?.[rows[at].indexOf(event.target) + move[1]];
  if (!target) return;
  event.preventDefault();
  event.target.setAttribute("tabindex", "-1");
  target.setAttribute("tabindex", "0");
  target.focus();
}

function newestColumn(grid, scroll) {
  const cells = [...grid.querySelectorAll(".calendar-row:nth-child(2) .cell")];
  const newest = cells.findLast((each) => each.dataset.state !== "future");
  return newest ? newest.offsetLeft - scroll.clientWidth + 60 : 0;
}
