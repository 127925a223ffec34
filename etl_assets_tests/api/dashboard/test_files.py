"""The page's files: its own, plotly's script, and nothing else of this machine."""

from importlib.metadata import version
from pathlib import Path

import plotly
import pytest

from etl_assets.api.dashboard.files import STATIC
from etl_assets_tests.api.operating import Operating

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


def test_the_page_may_load_its_own_files_and_nothing_else(api: Operating) -> None:
    answer = api.get("/")

    policy = dict(each.split(" ", 1) for each in answer.headers["Content-Security-Policy"].split("; "))
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text == (STATIC / "index.html").read_text()
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["base-uri"], policy["form-action"], policy["frame-ancestors"]) == ("'none'", "'none'", "'none'")


@pytest.mark.parametrize("name", sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*.*")))
def test_every_file_is_served_as_what_it_is(api: Operating, name: str) -> None:
    answer = api.get(f"/dashboard/static/{name}")

    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["Content-Type"].startswith(TYPES[Path(name).suffix])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_plotly_comes_out_of_its_package(api: Operating) -> None:
    answer = api.get("/dashboard/static/plotly.min.js")

    assert answer.content == (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br, zstd", "gzip"), ("br;q=1, gzip;q=0.5", "gzip"), ("br", None), ("gzip;q=0", None), ("", None)],
)
def test_a_file_is_compressed_once_and_not_for_each_who_asks(
    api: Operating, accepted: str, encoding: str | None
) -> None:
    answer = api.get("/dashboard/static/plotly.min.js", headers={"Accept-Encoding": accepted})

    assert answer.content == (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()
    assert (answer.headers.get("Content-Encoding"), answer.headers["Vary"]) == (encoding, "Accept-Encoding")


@pytest.mark.parametrize(
    ("address", "is_kept"),
    [
        (f"plotly.min.js?v={version('plotly')}", True),
        (f"index.html?v={version('etl-assets')}", True),
        ("plotly.min.js?v=0", False),
        ("plotly.min.js", False),
        (f"index.html?v={version('plotly')}", False),
    ],
)
def test_what_names_its_version_is_kept_for_a_year_and_all_else_asked_for_again(
    api: Operating, address: str, is_kept: bool
) -> None:
    answer = api.get(f"/dashboard/static/{address}")
    again = api.get(f"/dashboard/static/{address}", headers={"If-None-Match": answer.headers["ETag"]})

    assert ("immutable" in answer.headers["Cache-Control"]) is is_kept
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name",
    ["", "nothing.js", "../files.py", "..%2ffiles.py", "%2e%2e/files.py", "/etc/passwd", "%2fetc%2fpasswd", "a/../../x",
     ".hidden", "index.html%00", "index.html/", "é.js", "a" * 500],
)  # fmt: skip
def test_nothing_else_of_this_machine_can_be_had(api: Operating, name: str) -> None:
    assert api.get(f"/dashboard/static/{name}").status_code == 404
