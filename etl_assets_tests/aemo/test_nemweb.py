"""Listings, mirrors and archives of NEMWeb."""

import io
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.aemo import members as members_module
from etl_assets.aemo.nemweb import Member, NemWeb, RemoteFile, members, parse_listing
from etl_assets.http import HttpClient, NotThere, SourceError, Unintelligible
from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aemo"
with_real_files = pytest.mark.skipif(not REAL.is_dir(), reason=f"no market files at {REAL}")

ROOT = "http://nemweb.test"
FOLDER = "/Reports/CURRENT/DispatchIS_Reports/"
PARENT = '<A HREF="/Reports/CURRENT/">[To Parent Directory]</A><br><br>'


def page(*entries: str) -> str:
    body = f"<H1>nemweb.test - {FOLDER}</H1><hr>\n\n<pre>{PARENT}{''.join(entries)}</pre>"
    return f"<html><body>{body}</body></html>"


def entry(name: str, when: str = "Saturday, April 18, 2026  2:40 PM", size: str = "19637") -> str:
    return f'     {when}        {size} <A HREF="{FOLDER}{name}">{name}</A><br>'


def listed(*entries: str) -> list[RemoteFile]:
    return parse_listing(page(*entries), ROOT + FOLDER)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return out.getvalue()


# --- listings -----------------------------------------------------------------------------------------


def test_an_entry_has_name_address_size_and_time_in_nem_time() -> None:
    assert listed(entry("A.zip")) == [
        RemoteFile("A.zip", f"{ROOT}{FOLDER}A.zip", 19637, datetime(2026, 4, 18, 14, 40, tzinfo=NEM_TIME))
    ]


@pytest.mark.parametrize(
    ("when", "hour", "minute"),
    [
        ("Saturday, April 18, 2026 12:00 AM", 0, 0),
        ("Saturday, April 18, 2026 12:05 PM", 12, 5),
        ("Saturday, April 18, 2026 11:55 PM", 23, 55),
        ("4/18/2026  1:07 AM", 1, 7),
        ("04/18/2026 01:07 PM", 13, 7),
    ],
)
def test_both_ways_of_writing_dates_are_read(when: str, hour: int, minute: int) -> None:
    assert listed(entry("A.zip", when))[0].modified == datetime(2026, 4, 18, hour, minute, tzinfo=NEM_TIME)


def test_an_impossible_date_is_no_date() -> None:
    assert listed(entry("A.zip", "2/30/2026 1:00 AM"))[0].modified is None


def test_tags_in_lower_case_on_lines_of_their_own_are_read() -> None:
    text = f'<pre><a href="/Reports/">[To Parent Directory]</a>\n<br>\n<br> {entry("A.zip").lower()}\n</pre>'

    assert [file.name for file in parse_listing(text, ROOT)] == ["a.zip"]


def test_absolute_links_are_followed_as_given() -> None:
    text = entry("A.zip").replace(FOLDER, "https://other.test/Reports/Current/")

    assert listed(text)[0].url == "https://other.test/Reports/Current/A.zip"


def test_relative_links_are_relative_to_the_folder() -> None:
    assert listed(entry("A.zip").replace(FOLDER, ""))[0].url == f"{ROOT}{FOLDER}A.zip"


def test_folders_are_left_out() -> None:
    folder = entry("DUPLICATE/", size="&lt;dir&gt;")

    assert [file.name for file in listed(folder, entry("A.zip"))] == ["A.zip"]


def test_an_empty_folder_is_a_listing() -> None:
    assert listed() == []


@pytest.mark.parametrize("text", ["<html><body>We are down for maintenance.</body></html>", "<pre>Error</pre>", ""])
def test_another_page_is_not_an_empty_folder(text: str) -> None:
    with pytest.raises(Unintelligible):
        parse_listing(text, ROOT)


@pytest.mark.parametrize("mark", ["#", "%23", "%2523"])
def test_a_hash_in_a_name_is_asked_for_as_the_server_stores_it(mark: str) -> None:
    [file] = listed(entry(f"PUBLIC_ARCHIVE{mark}DISPATCHPRICE{mark}FILE01.zip"))

    assert file.name == "PUBLIC_ARCHIVE#DISPATCHPRICE#FILE01.zip"
    assert file.url == f"{ROOT}{FOLDER}PUBLIC_ARCHIVE%2523DISPATCHPRICE%2523FILE01.zip"


# --- over http ----------------------------------------------------------------------------------------


class Pages:
    """Stands in for the network below the client: path as sent to body."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = self.bodies.get(request.url.raw_path.decode())
        return httpx.Response(404) if body is None else httpx.Response(200, stream=httpx.ByteStream(body))


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def site(pages: Pages) -> Iterator[NemWeb]:
    settings = Settings(_env_file=None, http_backoff=0, http_retries=1)
    with HttpClient(settings, httpx.MockTransport(pages)) as http:
        yield NemWeb(ROOT, http)


def test_a_folder_is_listed_and_its_files_read(site: NemWeb, pages: Pages) -> None:
    pages.bodies = {FOLDER: page(entry("A.zip")).encode(), f"{FOLDER}A.zip": b"PK\x03\x04"}

    [file] = site.listing("Reports/CURRENT/DispatchIS_Reports")

    assert site.read(file) == b"PK\x03\x04"


def test_a_file_that_rolled_off_is_not_there(site: NemWeb) -> None:
    with pytest.raises(NotThere):
        site.read(RemoteFile("A.zip", f"{ROOT}/A.zip", None, None))


def test_a_page_in_place_of_a_zip_is_unintelligible(site: NemWeb, pages: Pages) -> None:
    pages.bodies = {"/A.zip": b"<html>Access denied</html>"}

    with pytest.raises(Unintelligible):
        site.read(RemoteFile("A.zip", f"{ROOT}/A.zip", None, None))


@pytest.mark.parametrize("stored", ["A%2523B.zip", "A%23B.zip"])
def test_a_hash_reaches_servers_that_store_it_either_way(site: NemWeb, pages: Pages, stored: str) -> None:
    pages.bodies = {f"{FOLDER}{stored}": b"PK\x03\x04", FOLDER: page(entry("A%23B.zip")).encode()}

    [file] = site.listing(FOLDER)

    assert site.read(file) == b"PK\x03\x04"


def test_a_site_needs_a_client() -> None:
    with pytest.raises(ValueError, match="HTTP client"):
        NemWeb(ROOT, None)


# --- mirrors ------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path: Path) -> NemWeb:
    folder = tmp_path / "mirror root" / "Reports" / "Current" / "DispatchIS_Reports"
    folder.mkdir(parents=True)
    for name in ("B.zip", "a.csv", "C.CSV", "notes.txt", "PUBLIC%23X.zip"):
        (folder / name).write_bytes(name.encode())
    (folder / "DUPLICATE").mkdir()
    (tmp_path / "secret.csv").write_bytes(b"secret")
    return NemWeb((tmp_path / "mirror root").as_uri(), None)


def test_a_mirror_lists_and_reads_like_the_site(mirror: NemWeb) -> None:
    files = mirror.listing("Reports/CURRENT/DispatchIS_Reports/")

    assert [file.name for file in files] == ["B.zip", "C.CSV", "PUBLIC#X.zip", "a.csv"]
    assert [mirror.read(file) for file in files] == [b"B.zip", b"C.CSV", b"PUBLIC%23X.zip", b"a.csv"]
    assert all(file.modified and file.modified.tzinfo == NEM_TIME for file in files)
    assert [file.size for file in files] == [5, 5, 14, 5]


def test_a_folder_that_a_mirror_lacks_is_empty(mirror: NemWeb) -> None:
    assert mirror.listing("Reports/ARCHIVE/DispatchIS_Reports") == []


def test_a_file_that_a_mirror_lost_is_not_there(mirror: NemWeb, tmp_path: Path) -> None:
    [first, *_] = mirror.listing("Reports/CURRENT/DispatchIS_Reports")
    (tmp_path / "mirror root/Reports/Current/DispatchIS_Reports/B.zip").unlink()

    with pytest.raises(NotThere):
        mirror.read(first)


@pytest.mark.parametrize("folder", ["..", "Reports/../..", "Reports/./..", "..\\x"])
def test_no_folder_leads_out_of_a_mirror(mirror: NemWeb, folder: str) -> None:
    with pytest.raises(SourceError, match="out of the mirror"):
        mirror.listing(folder)


@pytest.mark.parametrize("path", ["secret.csv", "mirror%20root/../secret.csv", "mirror%20root/%2E%2E/secret.csv"])
def test_no_address_leads_out_of_a_mirror(mirror: NemWeb, tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceError, match="out of the mirror"):
        mirror.read(RemoteFile("secret.csv", f"{tmp_path.as_uri()}/{path}", None, None))


def test_no_link_leads_out_of_a_mirror(mirror: NemWeb, tmp_path: Path) -> None:
    (tmp_path / "mirror root" / "out").symlink_to(tmp_path)

    with pytest.raises(SourceError, match="out of the mirror"):
        mirror.listing("out")


# --- archives -----------------------------------------------------------------------------------------


def test_a_csv_is_its_own_only_member() -> None:
    assert list(members("a.CSV", b"C,x")) == [Member("a.CSV", b"C,x")]


def test_members_come_in_name_order_through_zips_in_zips() -> None:
    data = zipped(b__zip=zipped(B__CSV=b"2"), a__zip=zipped(A__csv=b"1"), readme__txt=b"no")

    assert list(members("day.zip", data)) == [Member("A.csv", b"1"), Member("B.CSV", b"2")]


def test_a_broken_inner_zip_costs_no_neighbour() -> None:
    good = zipped(A__CSV=b"1" * 1000)
    flipped = good.replace(good[40:44], b"\xff\xff\xff\xff", 1)
    data = zipped(a__zip=good[:-30], b__zip=flipped, c__zip=zipped(C__CSV=b"3"), d__zip=b"")

    found = list(members("day.zip", data))

    assert [member.name for member in found] == ["a.zip", "A.CSV", "C.CSV", "d.zip"]
    assert [member.data for member in found] == [None, None, b"3", None]
    assert [bool(member.refused) for member in found] == [True, True, False, True]


def test_a_broken_file_is_one_refused_member_by_its_name() -> None:
    [member] = members("day.zip", b"PK\x03\x04 no more")

    assert (member.name, member.data) == ("day.zip", None)
    assert member.refused
    assert member.refused.startswith("not a readable zip")


def test_a_zip_without_a_csv_is_refused_rather_than_nothing() -> None:
    assert list(members("a.zip", zipped(readme__txt=b""))) == [Member("a.zip", None, "a zip without a CSV in it")]


def test_a_zip_bomb_is_refused_where_the_bound_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "MAX_UNZIPPED_BYTES", 1000)

    found = list(members("a.zip", zipped(a__CSV=b"1" * 600, b__CSV=b"2" * 600)))

    assert [member.refused for member in found] == [None, "more than 1000 bytes unpacked from one file"]


def test_nesting_has_a_bound() -> None:
    data = zipped(a__CSV=b"1")
    for _ in range(5):
        data = zipped(inner__zip=data)

    [member] = members("a.zip", data)

    assert member.refused == "zips nested more than 3 deep"


@given(st.binary(max_size=200))
def test_any_bytes_give_members_and_no_exception(data: bytes) -> None:
    assert list(members("a.zip", b"PK\x03\x04" + data))


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_never_gives_wrong_data(at: int, value: int) -> None:
    data = bytearray(zipped(a__zip=zipped(A__CSV=b"right" * 50), b__CSV=b"right" * 50))
    data[at % len(data)] = value

    for member in members("day.zip", bytes(data)):
        assert member.data is None or member.data == b"right" * 50


# --- AEMO's own pages ---------------------------------------------------------------------------------


def real_listing(name: str) -> list[RemoteFile]:
    return parse_listing((REAL / "listings" / name).read_text(), "https://www.nemweb.com.au/")


@pytest.mark.real_data
@with_real_files
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("CURRENT_DispatchIS_Reports_20260420.html", 577),
        ("ARCHIVE_DispatchIS_Reports_20260420.html", 375),
        ("ARCHIVE_TradingIS_Reports_20260420.html", 54),
        ("CURRENT_Dispatch_SCADA_DUPLICATE_20260420.html", 1),
        ("CURRENT_Public_Prices_20260420.html", 60),
        ("opennem_dispatch_scada_dirlisting_20210902.html", 578),
        ("ryukyi_TradingIs_fragment_20240312.html", 3),
    ],
)
def test_every_file_of_a_real_listing_is_found(name: str, count: int) -> None:
    files = real_listing(name)

    assert len({file.url for file in files}) == count
    assert all(file.size and file.modified for file in files)
    assert all(file.url.endswith(file.name) and file.name.endswith(".zip") for file in files)


@pytest.mark.real_data
@with_real_files
def test_dispatch_files_appear_five_minutes_before_their_interval_ends() -> None:
    for file in real_listing("CURRENT_DispatchIS_Reports_20260420.html"):
        end = datetime.strptime(file.name[18:30], "%Y%m%d%H%M").replace(tzinfo=NEM_TIME)
        assert file.modified == end - timedelta(minutes=5)


@pytest.mark.real_data
@with_real_files
def test_the_first_month_of_renamed_archives_is_addressed_with_a_double_encoding() -> None:
    files = [file for file in real_listing("MMSDM_2024_08_DATA.html") if file.name.startswith("PUBLIC_ARCHIVE")]

    prices = [file for file in files if file.name == "PUBLIC_ARCHIVE#DISPATCHPRICE#FILE01#202408010000.zip"]
    assert [file.url.rpartition("/")[2] for file in prices] == [
        "PUBLIC_ARCHIVE%2523DISPATCHPRICE%2523FILE01%2523202408010000.zip"
    ]
    assert all("%23" not in file.name and file.url.count("%2523") == 3 for file in files)
