/** What is at work, what waits and what has ended: runs of Dagster, the last 100 syncs, exports. */

import { button, element, fill, link, table } from "./dom.js";
import { figures } from "./figures.js";
import { Section } from "./section.js";
import { counted, duration, moment, NOTHING, number, time } from "./words.js";

/** So many syncs are shown until somebody asks for all. */
const FEW = 12;
const AT_WORK = ["STARTED", "STARTING", "CANCELING", "running", "started"];
const WAITING = ["QUEUED", "NOT_STARTED", "queued", "pending"];

/** The section. ``now()`` is the server's time in seconds. */
export function jobsSection(now) {
  let all = false;
  const jobs = new Section("jobs", {
    load: (signal) => figures("/dashboard/runs", {}, signal),
    show: (body, answer) => fill(body,
      totals(answer),
      element("div", { class: "columns" },
        element("div", {}, element("h3", {}, "Syncs"), syncTable(answer.syncs.slice(0, all ? undefined : FEW), now()), more(answer)),
        element("div", {}, element("h3", {}, "Runs in Dagster"), runs(answer, now()), element("h3", {}, "Exports"), exportsTable(answer.exports, now())))),
  });
  const more = (answer) => answer.syncs.length > FEW && button(all ? `Show the newest ${FEW}` : `Show all ${answer.syncs.length}`, () => {
    all = !all;
    jobs.refresh();
  });
  return jobs;
}

function totals(answer) {
  const { count, mean_duration_s: mean, mean_inserted: inserted, failed } = answer.summary;
  const isAny = (states) => answer.runs.filter(({ status }) => states.includes(status)).length;
  const facts = [
    ["Running", number(isAny(AT_WORK))], ["Queued", number(isAny(WAITING))], [`Last ${counted(count, "sync", "syncs")}`, `${number(failed)} failed`],
    ["Mean duration", duration(mean)], ["Mean inserted", `${number(inserted)} rows`],
  ];
  return element("dl", { class: "totals" }, facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function syncTable(syncs, now) {
  if (!syncs.length) return element("p", { class: "empty" }, "Nothing was synced yet.");
  const rows = syncs.map((sync) => [
    link(sync.dagster_url, sync.dataset), partition(sync), time(sync.started_at, moment(sync.started_at, now)),
    duration(sync.duration_s), number(sync.fetched), number(sync.inserted), number(sync.updated), number((sync.invalid ?? 0) + errorCount(sync)), statusWord(sync.status),
  ]);
  return table("The newest syncs", ["Dataset", "Partition", "Started", "Took", "Fetched", "Inserted", "Updated", "Faults", "Status"], rows, { numbers: [3, 4, 5, 6, 7], hidesCaption: true });
}

/** A day, or a day of a site: Dagster writes the two with a bar between. */
function partition({ partition: key }) {
  return element("span", { class: "partition" }, (key ?? "").replaceAll("|", " "));
}

function errorCount(sync) {
  return Array.isArray(sync.errors) ? sync.errors.length : Number(sync.errors) || 0;
}

function statusWord(status) {
  const word = (status ?? NOTHING).toLowerCase().replaceAll("_", " ");
  const kind = /fail|error|cancel/.test(word) ? "bad" : /queue|pend|start|run/.test(word) ? "open" : "good";
  return element("span", { class: "status", "data-state": kind }, word);
}

function runs(answer, now) {
  const isDown = answer.dagster === "down";
  const down = isDown && element("p", { class: "verdict", "data-state": "late" }, "Dagster’s daemon is not at work, so that nothing is collected by itself: start it with `etl-assets up`.");
  return [down, answer.runs.length ? runTable(answer, now) : element("p", { class: "empty" }, "No run yet.")];
}

function runTable(answer, now) {
  const isAtWork = ({ status }) => AT_WORK.includes(status);
  // A long run is not to be hidden by the short ones that began after it.
  const inOrder = [...answer.runs.filter(isAtWork), ...answer.runs.filter((run) => !isAtWork(run))];
  const rows = inOrder.slice(0, FEW).map((run) => [
    link(run.dagster_url, run.job), partition(run), time(run.started_at, moment(run.started_at, now)),
    run.ended_at && run.started_at ? duration(run.ended_at - run.started_at) : NOTHING, statusWord(run.status),
  ]);
  return table("Runs in Dagster", ["Job", "Partition", "Started", "Took", "Status"], rows, { numbers: [3], hidesCaption: true });
}

function exportsTable(exports, now) {
  if (!exports.length) return element("p", { class: "empty" }, "No export was asked for.");
  const rows = exports.map((job) => [
    job.site, time(job.created_at, moment(job.created_at, now)), number(job.samples), progress(job), statusWord(job.status),
  ]);
  return table("Exports", ["Site", "Asked for", "Samples", "Progress", "Status"], rows, { numbers: [2], hidesCaption: true });
}

function progress(job) {
  const share = job.progress ?? 0;
  return element("progress", { max: "1", value: String(share), "aria-label": `Export of ${job.site}` }, `${Math.round(share * 100)} %`);
}
