"""Several processes on one job: each KPI is called by one of them, and a killed one's are free when its time is up."""

import json
import subprocess
import sys
from collections import Counter
from datetime import timedelta

from etl_assets.ops.kpi_records import failed_days
from etl_assets.ops.kpi_state import claim, finish, job, open_job, runs_of
from etl_assets_tests.ops.conftest import DAY, MINUTE, SECOND, TICK

WORKER = """
import json, sys
from datetime import date, datetime, timedelta
from pathlib import Path
from etl_assets.ops.kpi_state import accepted, claim, finish, open_job, record_call
from etl_assets.settings import Settings

options = json.loads(sys.argv[1])
settings = Settings(_env_file=None, etl_data=Path(options["etl_data"]))
now, kpi_ids = datetime.fromisoformat(options["now"]), options["kpi_ids"]
print("ready", flush=True)
sys.stdin.readline()
trace_id = open_job(settings, date.fromisoformat(options["day"]), kpi_ids, moment=now, now=now).trace_id
called = []
for kpi_id in kpi_ids:
    claimed = claim(settings, trace_id, kpi_id, run_id=options["run_id"], now=now, until=now + timedelta(minutes=1))
    if claimed is None or not claimed.must_call:
        continue
    record_call(settings, trace_id, kpi_id, payload={}, now=now)
    if options["stops"]:
        print("stopped", flush=True)
        sys.stdin.readline()
    called.append(kpi_id)
    accepted(settings, trace_id, kpi_id, retries=0, now=now, waits=False)
    finish(settings, trace_id, kpi_id, status="completed", now=now)
print(json.dumps(called), flush=True)
"""


def worker(settings, kpi_ids: list[str], run_id: str, *, stops: bool = False) -> "subprocess.Popen[str]":
    told = {"etl_data": str(settings.etl_data), "kpi_ids": kpi_ids, "run_id": run_id, "stops": stops}
    told |= {"now": TICK.isoformat(), "day": DAY.isoformat()}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = subprocess.Popen([sys.executable, "-c", WORKER, json.dumps(told)], text=True, **pipes)
    assert started.stdout.readline() == "ready\n", started.stderr.read()
    return started


def go_on(process: "subprocess.Popen[str]") -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def test_processes_that_work_off_a_day_at_once_share_one_job_and_call_each_workflow_once(settings):
    kpi_ids = [f"kpi-{n:02}" for n in range(20)]
    workers = [worker(settings, kpi_ids, f"run-{n}") for n in range(3)]

    for each in workers:
        go_on(each)
    ends = [each.communicate() for each in workers]

    called = Counter(kpi_id for said, _ in ends for kpi_id in json.loads(said))
    [trace_id] = {run.trace_id for run in runs_of_the_day(settings)}
    assert [errors for _, errors in ends] == ["", "", ""]
    assert called == dict.fromkeys(kpi_ids, 1)
    assert (job(settings, trace_id).status, job(settings, trace_id).completed_kpis) == ("completed", 20)


def test_what_a_killed_process_had_in_hand_is_free_when_its_time_is_over_and_called_again(settings):
    killed = worker(settings, ["a", "b"], "run-1", stops=True)
    go_on(killed)
    assert killed.stdout.readline() == "stopped\n"
    killed.kill()
    killed.communicate()
    [in_hand, never_claimed] = runs_of_the_day(settings)
    over = TICK + MINUTE

    early = claim(settings, in_hand.trace_id, "a", run_id="run-2", now=over - SECOND, until=over)
    seen = failed_days(settings, since=DAY, now=over)
    late = failed_days(settings, since=DAY, now=over + timedelta(hours=1))
    free = claim(settings, in_hand.trace_id, "a", run_id="run-2", now=over, until=over + MINUTE)
    finish(settings, in_hand.trace_id, "a", status="completed", now=over)

    assert (in_hand.status, never_claimed.status) == ("running", "pending")
    assert early is None
    assert (seen, late) == ({DAY: ["a"]}, {DAY: ["a", "b"]})
    assert free.must_call
    assert [run.status for run in runs_of_the_day(settings)] == ["completed", "pending"]


def runs_of_the_day(settings):
    return runs_of(settings, open_job(settings, DAY, [], moment=TICK, now=TICK).trace_id)
