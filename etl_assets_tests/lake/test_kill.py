"""SIGKILL at any point loses no acknowledged row, leaves no half batch, and blocks nobody."""

import subprocess
from datetime import UTC, datetime, timedelta
from itertools import cycle

from etl_assets.lake.maintenance import maintain
from etl_assets.lake.publish import publish, published_snapshot

POINTS = ("upserted", "committed", "upserted", "locked", "acknowledged", "upserted")
"""What a writer has just said when it is killed; it goes on meanwhile, so that the kill falls at any point after."""
LATER = timedelta(days=30)


def test_killed_writers_lose_no_acknowledged_batch_and_leave_no_half_one(
    settings, start, finish, await_line, tmp_path, query
):
    def start_writer(name: str) -> subprocess.Popen[str]:
        return start("write_when_told", name, numbers[name], tmp_path / name)

    def acknowledged(name: str) -> list[int]:
        file = tmp_path / name
        return [int(number) for number in file.read_text().split()] if file.exists() else []

    def tell(writer: subprocess.Popen[str]) -> None:
        writer.stdin.write("\n")
        writer.stdin.flush()

    numbers = {"w0": 1, "w1": 1}
    writers = {name: start_writer(name) for name in numbers}
    for victim, other, point in zip(cycle(["w0", "w1"]), cycle(["w1", "w0"]), POINTS, strict=False):
        tell(writers[other])
        tell(writers[victim])
        await_line(writers[victim], point)
        writers[victim].kill()
        writers[victim].wait()
        numbers[victim] = max(acknowledged(victim), default=0) + 1
        writers[victim] = start_writer(victim)
        await_line(writers[other], "acknowledged")
        numbers[other] += 1
    for writer in writers.values():
        writer.kill()
        writer.wait()
    for name, number in numbers.items():
        finish(start("write", name, number, number, tmp_path / name))

    # The number in a batch's rows is the batch's own, so a row of another batch would show as well.
    batches = query(
        "SELECT duid, count(*), count(DISTINCT interval_end), min(scada_value), max(scada_value) "
        "FROM lake.aemo.unit_scada WHERE contains(duid, '-') GROUP BY ALL"
    )
    expected = {f"{name}-{number}" for name in numbers for number in range(1, numbers[name] + 1)}
    assert {name: acknowledged(name) for name in numbers} == {
        name: list(range(1, last + 1)) for name, last in numbers.items()
    }
    assert {duid for duid, *_ in batches} == expected
    assert [row for row in batches if row[1:] != (12, 12, *[float(row[0].split("-")[1])] * 2)] == []
    newest = query("SELECT duid, scada_value FROM lake.aemo.unit_scada WHERE NOT contains(duid, '-') ORDER BY 1")
    assert newest == [(name, float(last)) for name, last in numbers.items()]

    before = query("SELECT * FROM lake.aemo.unit_scada ORDER BY ALL")
    done = maintain(settings, now=datetime.now(UTC) + LATER)
    named = query("SELECT data_file FROM ducklake_list_files('lake', 'unit_scada', schema => 'aemo')")
    on_disk = {str(path) for path in (settings.etl_data / "lake" / "files" / "aemo" / "unit_scada").rglob("*.parquet")}

    assert query("SELECT * FROM lake.aemo.unit_scada ORDER BY ALL") == before
    assert on_disk == {path for (path,) in named}
    assert done.orphans_removed + done.files_removed > 0


def test_files_of_a_batch_that_was_killed_before_its_commit_are_removed_later(settings, start, await_line, query):
    writer = start("hold", "a batch that is killed")
    await_line(writer, "held")
    writer.kill()
    writer.wait()
    folder = settings.etl_data / "lake" / "files" / "aemo" / "unit_scada"
    left = len(list(folder.rglob("*.parquet")))

    soon = maintain(settings, now=datetime.now(UTC))
    late = maintain(settings, now=datetime.now(UTC) + LATER)

    assert left == 2
    assert (soon.orphans_removed, late.orphans_removed) == (0, 2)
    assert list(folder.rglob("*.parquet")) == []
    assert query("SELECT count(*) FROM lake.aemo.unit_scada") == [(0,)]


def test_a_publisher_killed_before_the_swap_leaves_the_file_as_it_was(
    settings, start, await_line, store, region_rows, now
):
    store(region_rows(now.date(), intervals=1))
    publish(settings, now=now)
    before, snapshot = settings.warehouse_path.read_bytes(), published_snapshot(settings)
    store(region_rows(now.date(), intervals=2))

    publisher = start("publish_and_stop_before_the_swap")
    await_line(publisher, "drafted")
    publisher.kill()
    publisher.wait()

    drafts = list(settings.etl_data.glob(".warehouse.duckdb.*.draft"))
    assert len(drafts) == 1
    assert settings.warehouse_path.read_bytes() == before
    assert publish(settings, now=now).snapshot_id == snapshot + 1
    assert list(settings.etl_data.glob(".warehouse*")) == []
