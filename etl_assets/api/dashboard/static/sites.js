/** The buildings: a card each, and what there is of the one that is chosen. */

import { choiceOf, choose } from "./address.js";
import { byId, element, fill } from "./dom.js";
import { figures } from "./figures.js";
import { Section } from "./section.js";
import { showSite } from "./site.js";
import { dayName, moment, number, percent, time } from "./words.js";

/** Below this a site's day is one to look at. */
const GOOD_SCORE = 0.98;

/** The section. ``now()`` is the server's time in seconds. */
export function sitesSection(now) {
  const sites = new Section("sites", {
    load: (signal) => figures("/dashboard/sites", {}, signal),
    show: (body, answer) => show(sites, body, answer, now()),
  });
  return sites;
}

function show(sites, body, answer, now) {
  if (!answer.sites.length) {
    fill(body, element("p", { class: "empty" }, "No building yet: put one into SITES, and its readings come in within minutes."));
    fill(byId("site"));
    return;
  }
  const chosen = answer.sites.find(({ site }) => site === choiceOf("site")) ?? answer.sites[0];
  const pick = (site) => {
    choose("site", site);
    choose("point", "");
    choose("day", "");
    show(sites, body, answer, now);
    body.querySelector('[aria-pressed="true"]').focus();
  };
  fill(body, element("ul", { class: "cards" }, answer.sites.map((site) => card(site, site === chosen, pick, now))));
  showSite(chosen, now);
}

function card(site, isChosen, pick, now) {
  const heading = element("button", { type: "button", class: "pick", "aria-pressed": String(isChosen), click: () => pick(site.site) }, site.site);
  return element("li", { class: "card", "data-site": site.site, "data-chosen": isChosen },
    element("h3", {}, heading, element("small", {}, ` ${site.time_zone ?? ""}`)),
    score(site),
    element("dl", {},
      fact("Newest reading", time(site.newest_at, moment(site.newest_at, now))),
      fact("Points", [number(site.points), element("small", {}, kinds(site))]),
      fact("Weather", weather(site, now))));
}

function score(site) {
  if (site.score === null) return element("p", { class: "score" }, "not scored yet");
  const state = site.score >= GOOD_SCORE ? "good" : "late";
  return element("p", { class: "score" },
    element("b", {}, percent(site.score)), " of what was due",
    site.day && element("small", {}, ` on ${dayName(site.day)}`), " ",
    element("span", { class: "status", "data-state": state }, state === "good" ? "good" : "look into it"));
}

function kinds(site) {
  return ` ${Object.entries(site.kinds ?? {}).sort(([, a], [, b]) => b - a).map(([kind, count]) => `${number(count)} ${kind}`).join(", ")}`;
}

function weather(site, now) {
  const found = site.weather;
  if (!found) return "none yet";
  const words = [`${number(found.temperature, 1)} °C`, `${number(found.humidity)} % humidity`, `wind ${number(found.wind_speed, 1)}`, found.conditions].filter(Boolean);
  return [words.join(", "), element("small", {}, " at ", time(found.observed_at, moment(found.observed_at, now)))];
}

function fact(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}
