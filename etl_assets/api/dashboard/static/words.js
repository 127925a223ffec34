/** Numbers and times as a person reads them. Times come as seconds since 1970 and are said in NEM time, UTC+10. */

import { element } from "./dom.js";

const NEM = "Australia/Brisbane";
const LANGUAGE = "en-AU";
const MINUTE_S = 60;
const HOUR_S = 3600;
export const DAY_S = 86_400;
export const NOTHING = "–";

/** NEM time is ahead of UTC by this; it knows no daylight saving. */
export const NEM_AHEAD_S = 10 * HOUR_S;

const formats = new Map();

function numberFormat(digits) {
  if (!formats.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    formats.set(digits, new Intl.NumberFormat(LANGUAGE, options));
  }
  return formats.get(digits);
}

/** A number with so many digits after the point, a true minus sign, and a dash where there is none. */
export function number(value, digits = 0) {
  if (value === null || value === undefined) return NOTHING;
  const text = numberFormat(digits).format(value).replace("-", "\u2212");
  return /^\u2212[0.,]+$/.test(text) ? text.slice(1) : text;
}

/** A number with as many digits as tell it apart: 0.043, 4.31, 43.1, 431, 4,310. */
export function figure(value) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 100) return number(value, 0);
  return number(value, size >= 10 ? 1 : size >= 0.1 ? 2 : 3);
}

/** A share of 0 to 1 in per cent. What is not quite all is never said to be 100 %. */
export function percent(share) {
  if (share === null || share === undefined) return NOTHING;
  if (share > 0.999 && share < 1) return "99.9\u202f%";
  return `${number(share * 100, share > 0.99 && share < 1 ? 1 : 0)}\u202f%`;
}

/** One of something, or many. */
export function counted(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

function timeFormat(options, timeZone = NEM) {
  const key = JSON.stringify([options, timeZone]);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(LANGUAGE, { ...options, timeZone, hourCycle: "h23" }));
  return formats.get(key);
}

const CLOCK = { hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };
const WEEKDAY = { weekday: "short", ...DAY };

/** 14:35 */
export function clock(at) {
  return at === null || at === undefined ? NOTHING : timeFormat(CLOCK).format(at * 1000);
}

/** Thu 26 Nov */
export function weekday(at) {
  return timeFormat(WEEKDAY).format(at * 1000).replace(",", "");
}

/** 14:35 where it is today, otherwise 26 Nov 14:35. */
export function moment(at, now) {
  if (at === null || at === undefined) return NOTHING;
  const day = timeFormat(DAY).format(at * 1000);
  return now !== undefined && day === timeFormat(DAY).format(now * 1000) ? clock(at) : `${day} ${clock(at)}`;
}

/** A market day, ``2026-11-24``, as 24 Nov. */
export function dayName(day, options = DAY) {
  return timeFormat(options, "UTC").format(Date.parse(`${day}T00:00:00Z`)).replace(",", "");
}

/** A market day as Tuesday 24 November 2026. */
export function fullDay(day) {
  return dayName(day, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

/** ``2026-11`` as November 2026. */
export function monthName(month) {
  return dayName(`${month}-01`, { month: "long", year: "numeric" });
}

/** The same moment where the reader is. */
export function yourTime(at) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return `${timeFormat({ ...WEEKDAY, ...CLOCK }, zone).format(at * 1000)} your time (${zone})`;
}

/** A moment as an element that says, when pointed at, what time it is for the reader. */
export function time(at, words = clock(at)) {
  if (at === null || at === undefined) return NOTHING;
  const exact = new Date(at * 1000).toISOString();
  return element("time", { datetime: exact, title: `${moment(at)} NEM time; ${yourTime(at)}` }, words);
}

/** How long: 40 s, 12 min, 1 h 25 min, 3 days. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < MINUTE_S) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / MINUTE_S);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}
