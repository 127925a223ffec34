from datetime import date
from pathlib import Path

import pytest

from etl_assets.simulator.mirror import write_mirror
from etl_assets_tests.simulator.reading import members, table_of


@pytest.mark.parametrize(
    ("feed", "files"), [("Dispatch_SCADA", 288), ("TradingIS_Reports", 288), ("ROOFTOP_PV/ACTUAL", 96)]
)
def test_a_mirror_of_a_day_holds_a_file_an_interval(tmp_path: Path, feed: str, files: int) -> None:
    written = write_mirror(tmp_path, date(2026, 4, 18), date(2026, 4, 18), feeds=[feed])

    assert len(written) == files
    assert {path.parent for path in written} == {tmp_path / "Reports/CURRENT" / feed}


def test_plain_files_are_the_reports_themselves(tmp_path: Path) -> None:
    written = write_mirror(tmp_path, date(2026, 4, 18), date(2026, 4, 18), feeds=["TradingIS_Reports"], plain=True)

    assert written[0].suffix == ".CSV"
    assert len(table_of(written[0].read_bytes(), "PRICE")) == 5


def test_an_archive_mirror_holds_a_zip_of_zips_a_day(tmp_path: Path) -> None:
    written = write_mirror(
        tmp_path, date(2026, 4, 17), date(2026, 4, 18), feeds=["Dispatch_SCADA"], layouts=["archive"]
    )

    assert [path.name for path in written] == [
        "PUBLIC_DISPATCHSCADA_20260417.zip",
        "PUBLIC_DISPATCHSCADA_20260418.zip",
    ]
    assert len(members(written[0].read_bytes())) == 288
