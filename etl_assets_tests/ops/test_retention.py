"""Dagster's history: superseded runs go, the run that made a partition last stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from etl_assets.ops import retention
from etl_assets.ops.retention import dagster_history_trimmed, forget_run, superseded_runs

DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@dg.asset(partitions_def=DAYS)
def by_day() -> None: ...


@dg.asset
def whole() -> None: ...


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def made(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, day: str | None = None) -> str:
    return dg.materialize(list(assets), instance=instance, partition_key=day).run_id


def later() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_an_older_run_of_a_partition_is_superseded_and_the_last_of_each_stays(instance: dg.DagsterInstance) -> None:
    first = made(instance, by_day, day="monday")
    made(instance, by_day, day="tuesday")
    made(instance, by_day, day="monday")

    assert superseded_runs(instance, later()) == [first]


def test_a_run_that_made_anything_last_stays(instance: dg.DagsterInstance) -> None:
    both = made(instance, whole)
    made(instance, by_day, day="monday")

    assert superseded_runs(instance, later()) == []

    made(instance, whole)

    assert superseded_runs(instance, later()) == [both]


def test_a_failed_run_that_made_nothing_goes(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def failing() -> None:
        raise ValueError("as the test wants")

    failed = dg.materialize([failing], instance=instance, raise_on_error=False).run_id

    assert superseded_runs(instance, later()) == [failed]


def test_a_run_that_is_young_stays(instance: dg.DagsterInstance) -> None:
    made(instance, whole)
    made(instance, whole)

    assert superseded_runs(instance, datetime.now(UTC) - timedelta(days=14)) == []


def test_runs_that_stay_do_not_hide_younger_ones_that_may_go(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_PER_READ", 1)
    monkeypatch.setattr(retention, "RUNS_PER_DAY", 2)
    made(instance, by_day, day="monday")
    made(instance, by_day, day="tuesday")
    superseded = [made(instance, whole) for _ in range(3)]
    made(instance, whole)

    assert superseded_runs(instance, later()) == superseded[:2]


def test_trimming_removes_the_superseded_and_says_how_many(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = made(instance, whole), made(instance, whole)
    short = retention.settings().model_copy(update={"run_retention": -timedelta(days=1)})
    monkeypatch.setattr(retention, "settings", lambda: short)

    result = dg.materialize([dagster_history_trimmed], instance=instance)

    [event] = result.asset_materializations_for_node("dagster_history_trimmed")
    assert event.metadata["runs_removed"].value == 1
    assert not instance.has_run(first)
    assert instance.has_run(last)


@dg.asset
def talkative() -> None:
    print("what a run prints is kept in files")  # noqa: T201 - the point


def files_of(folder: Path, run_id: str) -> list[str]:
    """What lies in an instance's folder under the name of a run."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if run_id in str(path))


def test_a_run_that_is_forgotten_leaves_no_file_and_the_others_all_of_theirs(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        gone, stays = made(instance, talkative), made(instance, talkative)
        kept = files_of(tmp_path, stays)

        forget_run(instance, gone)

        assert files_of(tmp_path, gone) == []
        assert files_of(tmp_path, stays) == kept
        assert len(kept) > 2
        assert [run.run_id for run in instance.get_runs()] == [stays]
        assert instance.get_latest_materialization_event(talkative.key).run_id == stays
