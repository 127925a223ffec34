"""The command line as a person meets it: what is printed, where, and with which exit code."""

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from etl_assets import cli
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import upsert
from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings
from etl_assets.simulator.app import SimulatorServer
from etl_assets_tests.conftest import make_region_rows

ETL_ASSETS = Path(sys.executable).with_name("etl-assets")
TICK = datetime(2026, 11, 21, 2, 6, tzinfo=NEM_TIME)
"""The files of 00:05 to 02:10 are out, 26 intervals: the last appeared at 02:05, as its interval began."""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def words(self) -> str:
        """What was said, however it was broken into lines and boxes."""
        return " ".join(self.text.replace("│", " ").split())


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command line in this process, in an empty folder, with nothing but the given environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", *(field.upper() for field in Settings.model_fields)):
        # Set first: what is not there cannot be put back, and the command line sets some of these.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def run(*arguments: str, **environment: str) -> Done:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["etl-assets", *arguments])
        process_settings.cache_clear()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Done(code, *capsys.readouterr())

    yield run
    process_settings.cache_clear()


def run_process(folder: Path, *arguments: str, **environment: str) -> Done:
    """The console script in a process of its own, with a clean environment."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "ETL_DATA": str(folder / "data")}
    ended = subprocess.run(
        [ETL_ASSETS, *arguments], cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)


def sources(server: SimulatorServer) -> dict[str, str]:
    return {
        "NEMWEB_URL": server.url,
        "AEMO_API_URL": f"{server.url}/aemo/apps/api/report/5MIN",
        "PRICE_AND_DEMAND_URL": f"{server.url}/aemo/data/nem/priceanddemand",
        "HTTP_BACKOFF": "0",
        "HTTP_RETRIES": "0",
    }


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(now=lambda: TICK) as server:
        yield server


@pytest.fixture(scope="module")
def published_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published data folder, made once: NSW1 and VIC1, 2026-11-21 until 00:15, at 50 AUD/MWh."""
    chosen = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("published") / "data")
    now = datetime(2026, 11, 21, tzinfo=UTC)
    with write_lake(chosen, "a test") as lake:
        upsert(lake, DISPATCH_REGION, make_region_rows(date(2026, 11, 21), intervals=3), now=now)
    publish(chosen, now=now)
    return chosen.etl_data


@pytest.fixture
def warehouse(published_folder: Path, tmp_path: Path) -> Path:
    """The published file of a copy of that folder; its views read the files of the original."""
    shutil.copytree(published_folder, tmp_path / "data")
    return tmp_path / "data" / "warehouse.duckdb"


# --- sql


@pytest.mark.usefixtures("warehouse")
def test_a_query_is_shown_as_a_table(run: Run) -> None:
    done = run("sql", "SELECT region_id, count(*) AS intervals FROM aemo.price GROUP BY ALL ORDER BY 1")

    assert done.code == 0
    assert done.words.endswith("NSW1 3 VIC1 3 └───────────┴───────────┘")
    assert "region_id" in done.out
    assert "intervals" in done.out


@pytest.mark.usefixtures("warehouse")
def test_a_query_is_printed_as_csv(run: Run) -> None:
    done = run("sql", "--csv", "SELECT region_id, settlement_date, rrp FROM aemo.price ORDER BY ALL LIMIT 2")

    assert done.out == ("region_id,settlement_date,rrp\nNSW1,2026-11-21 00:05:00,50.0\nNSW1,2026-11-21 00:10:00,50.0\n")


@pytest.mark.usefixtures("warehouse")
def test_a_query_is_printed_as_json(run: Run) -> None:
    done = run("sql", "--json", "SELECT region_id, interval_end, rrp FROM aemo.price ORDER BY ALL LIMIT 1")

    assert json.loads(done.out) == [
        {"region_id": "NSW1", "interval_end": "2026-11-20 14:05:00+00:00", "rrp": 50.0},
    ]


@pytest.mark.usefixtures("warehouse")
def test_a_query_without_rows_prints_the_header_or_an_empty_array(run: Run) -> None:
    none = "SELECT region_id, rrp FROM aemo.price WHERE false"

    assert run("sql", "--csv", none).out == "region_id,rrp\n"
    assert json.loads(run("sql", "--json", none).out) == []
    assert "region_id" in run("sql", none).out


AWKWARD = "SELECT 'a,b' AS comma, 'x\ny\"z' AS lines, NULL AS nothing, -0.1 AS cents, [1, 2] AS list, "
AWKWARD += "TIMESTAMPTZ '2026-11-22 00:05:00+10' AS instant, TIMESTAMP '2026-11-22 00:05:00' AS clock"


@pytest.mark.usefixtures("warehouse")
def test_awkward_values_survive_csv(run: Run) -> None:
    done = run("sql", "--csv", AWKWARD)

    assert list(csv.reader(io.StringIO(done.out, newline=""))) == [
        ["comma", "lines", "nothing", "cents", "list", "instant", "clock"],
        ["a,b", 'x\ny"z', "", "-0.1", "[1, 2]", "2026-11-21 14:05:00+00:00", "2026-11-22 00:05:00"],
    ]


@pytest.mark.usefixtures("warehouse")
def test_awkward_values_survive_json(run: Run) -> None:
    done = run("sql", "--json", AWKWARD)

    [row] = json.loads(done.out)
    assert row == {
        "comma": "a,b",
        "lines": 'x\ny"z',
        "nothing": None,
        "cents": -0.1,
        "list": [1, 2],
        "instant": "2026-11-21 14:05:00+00:00",
        "clock": "2026-11-22 00:05:00",
    }


@pytest.mark.usefixtures("warehouse")
def test_columns_of_one_name_are_all_in_json(run: Run) -> None:
    done = run("sql", "--json", "SELECT 1 AS x, 2 AS x, 3 AS x")

    assert json.loads(done.out) == [{"x": 1, "x_1": 2, "x_2": 3}]


@pytest.mark.usefixtures("warehouse")
def test_brackets_in_values_are_shown_as_they_are(run: Run) -> None:
    done = run("sql", "SELECT '[/a] [MW] [red]x' AS \"[b]name\"")

    assert "[/a] [MW] [red]x" in done.out
    assert "[b]name" in done.out


@pytest.mark.usefixtures("warehouse")
def test_a_wide_row_is_not_cut_in_a_pipe(run: Run) -> None:
    done = run("sql", "SELECT * FROM aemo.dispatch_region LIMIT 1")

    assert "demand_and_nonsched_gen" in done.out
    assert "2026-11-21 00:05:00" in done.out
    assert "…" not in done.out


@pytest.mark.usefixtures("warehouse")
def test_a_table_shows_two_hundred_rows_and_says_that_there_are_more(run: Run) -> None:
    query = "SELECT 'row ' || i AS x FROM range({}) AS t(i)"

    assert "--csv or --json prints all" not in run("sql", query.format(200)).out
    more = run("sql", query.format(201)).out
    assert "row 199 " in more
    assert "row 200 " not in more
    assert "The first 200 rows; --csv or --json prints all." in more


@pytest.mark.usefixtures("warehouse")
def test_csv_prints_all_rows(run: Run) -> None:
    done = run("sql", "--csv", "SELECT i FROM range(1000) AS t(i)")

    assert done.out.split() == ["i", *(str(i) for i in range(1000))]


@pytest.mark.parametrize("output", [[], ["--csv"], ["--json"]])
@pytest.mark.usefixtures("warehouse")
def test_a_wrong_query_exits_1_with_duckdbs_own_message_and_prints_nothing_else(
    output: list[str], tmp_path: Path
) -> None:
    done = run_process(tmp_path, "sql", *output, "SELECT nonsense FROM aemo.price")

    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith('Binder Error: Referenced column "nonsense" not found in FROM clause!')
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("warehouse")
def test_a_query_that_fails_on_its_way_exits_1_with_duckdbs_message(run: Run) -> None:
    done = run("sql", "--csv", "SELECT CAST(region_id AS INTEGER) FROM aemo.price")

    assert (done.code, done.out) == (1, "")
    assert "Could not convert string 'NSW1' to INT32" in done.words


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x INTEGER)",
        "CREATE OR REPLACE VIEW aemo.price AS SELECT 1",
        "DELETE FROM ops.publication",
        "DROP VIEW aemo.price",
    ],
)
def test_sql_cannot_write(statement: str, run: Run, warehouse: Path) -> None:
    before = warehouse.read_bytes()

    done = run("sql", statement)

    assert done.code == 1
    assert "read-only" in done.err
    assert warehouse.read_bytes() == before


@pytest.mark.parametrize("command", [["sql", "SELECT 1"], ["publish"]])
def test_without_data_a_command_says_what_to_do_and_leaves_the_folder_alone(
    command: list[str], run: Run, tmp_path: Path
) -> None:
    done = run(*command)

    assert done.code == 1
    assert done.err.startswith("etl-assets: ")
    assert "run `make demo`, or `etl-assets tick` for the live market" in done.words
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_warehouse_is_refused_with_duckdbs_message(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "warehouse.duckdb").write_text("this is no database " * 1000)

    done = run("sql", "SELECT 1")

    assert (done.code, done.out) == (1, "")
    assert "not a valid DuckDB database file" in done.words


def test_a_wrong_setting_is_named_in_one_sentence_without_its_value(tmp_path: Path) -> None:
    wrong = {"NEMWEB_URL": "ftp://user:s3cret@host", "HTTP_RETRIES": "-1", "AEMO_API_HEADERS": "token: s3cret"}

    done = run_process(tmp_path, "doctor", **wrong)

    assert done.code == 1
    assert done.err.splitlines() == [
        "etl-assets: NEMWEB_URL must start with http://, https:// or file:///",
        'etl-assets: AEMO_API_HEADERS must be a JSON object such as {"Referer": "https://…"}',
        "etl-assets: HTTP_RETRIES Input should be greater than or equal to 0",
    ]
    assert done.out == ""


def test_without_a_command_the_help_names_all_of_them(run: Run) -> None:
    done = run()

    assert all(f" {name} " in done.text for name in ["demo", "up", "tick", "sql", "publish", "simulate", "doctor"])


# --- tick


def test_up_names_the_address_of_the_api_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, free = (server.getsockname()[1] for server in (taken, other))
        other.close()
        ports = ("--port", str(free), "--api-port", str(port))
        done = run_process(tmp_path, "up", "--api-host", "0.0.0.0", *ports, ETL_SOURCE="demo")  # noqa: S104 (refused)

    assert done.code == 1
    assert f"Port {port} is in use: choose another with `etl-assets up --api-port`" in done.err


def stored(folder: Path, sql: str) -> list[tuple]:
    with read_lake(Settings(_env_file=None, etl_data=folder / "data")) as lake:
        return lake.execute(sql).fetchall()


def test_a_tick_brings_in_the_intervals_that_are_out_publishes_them_and_prints_the_counts(
    run: Run, server: SimulatorServer, tmp_path: Path
) -> None:
    done = run_process(tmp_path, "tick", "--at", "2026-11-21T02:06", **sources(server))

    assert (done.code, done.err) == (0, "")
    newest = "SELECT max(interval_end), count(*), count(DISTINCT interval_end) FROM {} WHERE market_day = '2026-11-21'"
    assert stored(tmp_path, newest.format("lake.aemo.dispatch_region")) == [
        (datetime(2026, 11, 20, 16, 10, tzinfo=UTC), 130, 26)
    ]
    with duckdb.connect(tmp_path / "data" / "warehouse.duckdb", read_only=True) as published:
        lines = {line.partition(":")[0]: line for line in done.out.splitlines()}
        for table in ("aemo.dispatch_region", "aemo.dispatch_interconnector", "aemo.unit_scada"):
            [rows] = published.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert f"{rows} inserted" in lines[table]

    # The same tick again has nothing to do, and an intervening one only the next interval.
    again = run("tick", "--at", "2026-11-21T02:06", **sources(server))
    assert again.code == 0
    assert "aemo.dispatch_region: 0 fetched" in again.out.splitlines()

    server.set_time(TICK + timedelta(minutes=5))
    following = run("tick", "--at", "2026-11-21T02:11", **sources(server))
    server.set_time(TICK)
    assert "aemo.dispatch_region: 5 fetched (5 inserted)" in following.out.splitlines()
    assert stored(tmp_path, newest.format("lake.aemo.dispatch_region")) == [
        (datetime(2026, 11, 20, 16, 15, tzinfo=UTC), 135, 27)
    ]


def test_a_tick_whose_source_refuses_exits_1_with_the_reason_and_neither_traceback_nor_credentials(
    tmp_path: Path,
) -> None:
    with SimulatorServer(now=lambda: TICK) as server:
        server.faults.switch_on("server_error", path="*")
        address = server.url.replace("http://", "http://user:s3cret@")
        done = run_process(tmp_path, "tick", "--at", "2026-11-21T02:06", **sources(server) | {"NEMWEB_URL": address})

    assert done.code == 1
    assert re.search(
        r"^DispatchIS 2026-11-21: \d+ intervals are missing or partial because: Status 503", done.err, re.MULTILINE
    )
    assert "s3cret" not in done.text
    assert "Traceback" not in done.text


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("nonsense", "'nonsense' is no ISO 8601 time such as 2026-11-22T14:41"),
        ("2021-09-30T12:00", "2021-09-30 is no market day from 2021-10-01 (MARKET_START) to"),
        ("2126-01-01T12:00", "2126-01-01 is no market day from 2021-10-01 (MARKET_START) to"),
    ],
)
def test_a_tick_at_no_time_of_the_market_is_an_error_of_usage(at: str, said: str, run: Run) -> None:
    done = run("tick", "--at", at)

    assert done.code == 2
    assert said in done.words


def test_a_live_tick_into_the_simulators_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SIMULATED").touch()

    done = run("tick", ETL_SOURCE="live")

    assert done.code == 1
    assert "holds the simulator's data. Remove that folder, or set ETL_DATA to another." in done.words
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["SIMULATED"]


@pytest.mark.usefixtures("warehouse")
def test_a_simulated_tick_into_a_folder_with_real_data_is_refused(run: Run) -> None:
    done = run("tick", ETL_SOURCE="demo")

    assert done.code == 1
    assert "holds real data; the simulator's is never mixed with it." in done.words


def test_a_tick_in_the_simulators_folder_reads_the_simulator_although_no_address_is_set(
    run: Run, tmp_path: Path
) -> None:
    done = run("tick", "--at", "2026-11-21T02:06", ETL_SOURCE="demo")

    assert (done.code, done.err) == (0, "")
    assert stored(
        tmp_path, "SELECT DISTINCT count(*) FROM lake.aemo.dispatch_region WHERE market_day = '2026-11-21'"
    ) == [(130,)]
    assert (tmp_path / "data" / "SIMULATED").exists()


# --- publish


def test_publish_prints_what_it_published(run: Run, warehouse: Path) -> None:
    [snapshot] = stored(warehouse.parents[1], "SELECT id FROM ducklake_current_snapshot('lake')")[0]
    warehouse.unlink()

    done = run("publish")

    assert done.code == 0
    assert done.out == (
        f"data/warehouse.duckdb: snapshot {snapshot}, 1 lake files, {warehouse.stat().st_size:,} bytes\n"
    )


# --- doctor


def found(done: Done, what: str) -> str:
    """The doctor's line about something, its cells separated by single bars."""
    [line] = [line for line in done.out.splitlines() if what in line]
    return " | ".join(cell.strip() for cell in line.strip("│").split("│"))


def test_doctor_in_an_empty_folder_says_what_is_missing_and_makes_nothing(
    run: Run, server: SimulatorServer, tmp_path: Path
) -> None:
    done = run("doctor", **sources(server))

    assert done.code == 0
    assert found(done, ["none yet", "Run `make demo`"][1]).startswith("! | lake | none yet")
    assert found(done, "warehouse.duckdb").startswith("! | warehouse.duckdb | none yet")
    assert list(tmp_path.iterdir()) == []


def test_doctor_in_a_healthy_folder_finds_nothing_to_do(run: Run, server: SimulatorServer, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    chosen = Settings(_env_file=None, etl_data=tmp_path / "data")
    row = {"interval_end": [now - timedelta(minutes=2)], "region_id": ["NSW1"], "intervention": [0], "rrp": [1.0]}
    with write_lake(chosen, "a test") as lake:
        upsert(lake, DISPATCH_REGION, pa.table(row), now=now)
    publish(chosen, now=now)

    done = run("doctor", **sources(server))

    assert done.code == 0
    assert found(done, "newest dispatch interval").startswith("✓")
    assert found(done, "warehouse.duckdb").startswith("✓")
    assert found(done, "NEMWeb http").startswith("✓")
    assert found(done, "5MIN report http").startswith("✓")
    assert "│ ! │" not in done.out
    assert "│ ✗ │" not in done.out


def test_doctor_says_that_the_data_is_stale_and_the_file_behind(run: Run, server, warehouse: Path, region_rows) -> None:
    chosen = Settings(_env_file=None, etl_data=warehouse.parent)
    old = region_rows(date(2024, 2, 29), intervals=1)
    with write_lake(chosen, "a test") as lake:
        lake.execute("DELETE FROM lake.aemo.dispatch_region")
        upsert(lake, DISPATCH_REGION, old, now=datetime(2024, 2, 29, tzinfo=UTC))

    done = run("doctor", **sources(server))

    assert done.code == 0
    assert found(done, "newest dispatch interval").startswith("! | newest dispatch interval | 2024-02-28 14:05 UTC, ")
    assert found(done, "newest dispatch interval").endswith("minutes ago | Is `make up` running?")
    assert "the lake is at" in found(done, "warehouse.duckdb")
    assert "etl-assets publish" in found(done, "warehouse.duckdb")


@pytest.mark.usefixtures("warehouse")
def test_doctor_goes_on_where_a_source_cannot_be_reached(run: Run) -> None:
    nobody = "http://127.0.0.1:9"

    done = run("doctor", NEMWEB_URL=nobody, AEMO_API_URL=f"{nobody}/5MIN")

    assert done.code == 0
    assert found(done, f"NEMWeb {nobody}").startswith(f"! | NEMWeb {nobody} | not reached (no answer)")
    assert found(done, "5MIN report").startswith(f"! | 5MIN report {nobody}/5MIN | not reached (no answer)")
    assert found(done, "newest dispatch interval").startswith("!")


def test_doctor_says_which_status_a_source_gave(run: Run) -> None:
    with SimulatorServer(now=lambda: TICK) as server:
        server.faults.switch_on("blocked", path="*")
        done = run("doctor", **sources(server))

    assert "not reached (403)" in found(done, f"NEMWeb {server.url}")


def test_doctor_shows_the_names_of_headers_and_not_their_values(run: Run, server: SimulatorServer) -> None:
    done = run("doctor", AEMO_API_HEADERS='{"X-Token": "tok-s3cret"}', **sources(server))

    assert "X-Token (values not shown)" in found(done, "5MIN headers")
    assert "s3cret" not in done.text


@pytest.mark.parametrize("host", ["127.0.0.1:9", "127.0.0.1:notaport", "[::bad"])
@pytest.mark.usefixtures("warehouse")
def test_no_command_shows_the_credentials_in_an_address(host: str, run: Run) -> None:
    address = f"http://user:s3cret@{host}"

    done = run("doctor", NEMWEB_URL=address, AEMO_API_URL=f"{address}/5MIN?key=s3cret", PRICE_AND_DEMAND_URL=address)

    assert "NEMWeb" in done.text or "sources" in done.text
    assert "s3cret" not in done.text


@pytest.mark.parametrize(
    "setting",
    [
        {"STATE_DATABASE": "postgresql://user:s3cret@127.0.0.1:9/state"},
        {"STATE_DATABASE": "nonsense://user:s3cret@127.0.0.1:9/state"},
        {"AEMO_API_HEADERS": '{"X-Token": "s3cret\\n"}'},
    ],
)
@pytest.mark.usefixtures("warehouse")
def test_doctor_shows_no_secret_in_the_errors_it_meets(
    setting: dict[str, str], run: Run, server: SimulatorServer
) -> None:
    done = run("doctor", **sources(server), **setting)

    assert "s3cret" not in done.text
    assert "Traceback" not in done.text
