/** The page: begins with how things stand, then lets each section fetch its own, and keeps all of it live. */

import { choiceOf, onAddress } from "./address.js";
import { calendarSection } from "./calendar.js";
import { button, byId, element, fill } from "./dom.js";
import { figures } from "./figures.js";
import { flowsSection } from "./flows.js";
import { freshnessSection } from "./freshness.js";
import { jobsSection } from "./jobs.js";
import { kpisSection } from "./kpis.js";
import { beginLive, say } from "./live.js";
import { marketSection } from "./market.js";
import { showClock, showOverview } from "./overview.js";
import { plotly } from "./plots.js";
import { refreshDue } from "./section.js";
import { beginSessions } from "./session.js";
import { sitesSection } from "./sites.js";
import { beginThemes } from "./theme.js";
import { counted, DAY_S, moment } from "./words.js";

const CLOCK_MS = 1000;
/** Between asking for the state though nothing was published: what is late becomes later. */
const STATE_MS = 60_000;
const AGAIN_MS = 10_000;
/** Syncs of one run end together: they are fetched once. */
const TOGETHER_MS = 700;

/** Sections above one that was gone to have their figures by then. */
const STAY_MS = 4000;

let state = null;
let asking = null;
let stateAt = 0;
let sections = null;
/** The publication that the sections were told of. */
let shown = "";

/** The server's time, in seconds: this machine's clock need not be right. */
function now() {
  return state ? state.now + (performance.now() - stateAt) / 1000 : Date.now() / 1000;
}

function fetchState() {
  const asked = figures("/dashboard/state").then((answer) => {
    // An answer that was overtaken by a later one is older.
    if (asked !== asking) return asking;
    state = answer;
    stateAt = performance.now();
    return answer;
  });
  asking = asked;
  return asked;
}

/** Whoever finds out first that something was published tells the sections: the event, or the look of every minute. */
async function refreshState() {
  try {
    showOverview(await fetchState());
  } catch (problem) {
    failed(problem);
    return false;
  }
  fill(byId("overview-problem"));
  if (!shown) performance.mark("tiles");
  const publication = `${state.snapshot} ${state.published_at}`;
  if (sections && publication !== shown) {
    Object.values(sections).forEach((section) => section.invalidate());
    say(`New figures, prices to ${moment(newestInterval(), now())}.`);
  }
  shown = publication;
  return true;
}

function failed(problem) {
  if (problem.status === 401) {
    dispatchEvent(new CustomEvent("signed-out"));
    return;
  }
  const isEmpty = problem.status === 503 && !state;
  const words = isEmpty
    ? [element("strong", {}, "No figures yet."), " Fill the folder with `make demo`, or let `make up` collect the market; then this page shows it by itself. ", element("small", {}, problem.detail)]
    : [element("strong", {}, problem.title ?? "This could not be shown"), " ", problem.detail ?? problem.message];
  fill(byId("overview-problem"), element("div", { class: "problem", role: "alert" }, element("p", {}, words), button("Try again", begin)));
  if (!state) {
    byId("trust").dataset.state = "waiting";
    byId("trust").textContent = isEmpty ? "Nothing was published yet." : "How the data stands is not known.";
  }
  clearTimeout(failed.again);
  failed.again = setTimeout(begin, (problem.retryAfter ?? 0) * 1000 || AGAIN_MS);
}

/** What is near the viewport asks for its figures; it can when it is known how things stand, and whether one may. */
function beginSections() {
  sections = {
    market: marketSection(() => newestInterval()),
    flows: flowsSection(() => asking),
    completeness: calendarSection(),
    freshness: freshnessSection(() => asking),
    sites: sitesSection(now),
    kpis: kpisSection(),
    jobs: jobsSection(now),
  };
  Object.values(sections).forEach((section) => section.begin());
  beginLive({ published: refreshState, sync_complete: synced, runs: ran, alert: alerted }, resumed);
  // The first figures are painted: the plots' script may come now, whichever section asks for it first.
  (globalThis.requestIdleCallback ?? setTimeout)(() => plotly().catch(() => {}));
}

function newestInterval() {
  const ends = (state?.regions ?? []).map((region) => region.interval_end).filter((at) => at !== null);
  return ends.length ? Math.max(...ends) : null;
}

async function begin() {
  const isThere = await refreshState();
  if (!isThere) return;
  if (sections) {
    Object.values(sections).forEach((section) => section.invalidate());
    dispatchEvent(new CustomEvent("signed-in"));
    return;
  }
  beginSections();
  goToSection();
}

function synced(event) {
  const { dataset, inserted, updated } = event.metrics;
  if (inserted || updated) say(`${dataset}: ${counted(inserted, "row")} inserted, ${counted(updated ?? 0, "row")} updated.`);
  ran();
}

function ran() {
  ran.soon ??= setTimeout(() => {
    ran.soon = null;
    sections.jobs.invalidate();
  }, TOGETHER_MS);
}

async function alerted() {
  await refreshState();
  sections.freshness.invalidate();
}

async function resumed() {
  await refreshState();
  sections.jobs.invalidate();
  refreshDue();
}

function goToSection() {
  const name = choiceOf("section");
  const heading = name && byId(`${name}-title`);
  if (name === "main") byId("main").focus();
  else if (heading) {
    heading.focus({ preventScroll: true });
    stayAt(heading);
  }
}

/** Keep a heading in its place while what is above it still grows, until somebody moves the page or touches it. */
function stayAt(heading) {
  leave();
  const growing = new ResizeObserver(() => heading.scrollIntoView());
  growing.observe(byId("figures"));
  for (const section of document.querySelectorAll(".board > section")) growing.observe(section);
  leave = () => growing.disconnect();
  setTimeout(leave, STAY_MS);
}

let leave = () => {};
for (const moved of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(moved, () => leave(), { passive: true });

beginThemes();
beginSessions(begin);
onAddress((hasOtherChoices) => {
  goToSection();
  if (hasOtherChoices) Object.values(sections ?? {}).forEach((section) => section.invalidate());
});
setInterval(() => showClock(now()), CLOCK_MS);
setInterval(() => {
  if (!document.hidden && state) refreshState().then((isThere) => isThere && sections.freshness.invalidate());
}, STATE_MS);
begin();
