"""The source ladder: which rung is offered for what, and which offers are taken."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from etl_assets.aemo.feeds import DISPATCH_IS, ROOFTOP, TRADING_IS, Report, feeds_of
from etl_assets.aemo.ladder import Ladder, Offer, Source, cheapest
from etl_assets.aemo.nemweb import NemWeb, RemoteFile
from etl_assets.http import HttpClient, NotThere, SourceError
from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets_tests.aemo.conftest import World

NOW = datetime(2026, 11, 22, 14, 41, tzinfo=NEM_TIME)


class Folders(NemWeb):
    """A site of which only the folders are there: names by folder; the others are missing."""

    def __init__(self, *, root_url: str = "http://nemweb.test", **names: Sequence[str]) -> None:
        self.root_url = root_url
        self.names = names
        self.asked: list[str] = []

    def listing(self, folder: str) -> list[RemoteFile]:
        self.asked.append(folder)
        for part, names in self.names.items():
            if f"/{part}" in f"/{folder}":
                return [RemoteFile(name, f"http://nemweb.test/{folder}/{name}", None, None) for name in names]
        raise NotThere("Status 404", folder)


def ladder(site: NemWeb, report: Report = DISPATCH_IS, now: datetime = NOW) -> Ladder:
    return Ladder(site, report, feeds_of(report), now)


def offered(world: World, day: date, report: Report = DISPATCH_IS) -> list[Offer]:
    """What the simulated site offers for a whole market day at 14:41 on 2026-11-22."""
    world.server.set_time(NOW)
    with HttpClient(world.settings) as http:
        return ladder(NemWeb(world.settings.nemweb_url, http), report).offers(interval_ends(day))


@pytest.mark.parametrize(
    ("day", "sources"),
    [
        (date(2026, 11, 21), {Source.CURRENT}),
        (date(2026, 11, 20), {Source.CURRENT, Source.ARCHIVE}),
        (date(2026, 11, 19), {Source.ARCHIVE}),
        (date(2026, 10, 1), {Source.ARCHIVE, Source.MMSDM}),
        (date(2025, 8, 1), {Source.MMSDM}),
        (date(2010, 2, 28), {Source.MMSDM}),
        (date(2009, 6, 30), set()),
    ],
)
def test_a_day_is_offered_by_the_rungs_that_hold_days_of_its_age(world: World, day: date, sources: set[Source]) -> None:
    assert {offer.source for offer in offered(world, day)} == sources


@pytest.mark.parametrize(
    ("month", "names"),
    [
        (
            date(2024, 7, 31),
            {
                "PUBLIC_DVD_DISPATCHPRICE_202407010000.zip",
                "PUBLIC_DVD_DISPATCHREGIONSUM_202407010000.zip",
                "PUBLIC_DVD_DISPATCHINTERCONNECTORRES_202407010000.zip",
            },
        ),
        (
            date(2024, 8, 1),
            {
                "PUBLIC_ARCHIVE#DISPATCHPRICE#FILE01#202408010000.zip",
                "PUBLIC_ARCHIVE#DISPATCHREGIONSUM#FILE01#202408010000.zip",
                "PUBLIC_ARCHIVE#DISPATCHINTERCONNECTORRES#FILE01#202408010000.zip",
            },
        ),
    ],
)
def test_the_months_of_mmsdm_changed_their_names_in_august_2024(world: World, month: date, names: set[str]) -> None:
    [offer] = offered(world, month)

    assert {file.name for file in offer.files} == names
    assert all("%2523" in file.url for file in offer.files if "#" in file.name)


def test_a_folder_that_is_missing_offers_nothing() -> None:
    assert ladder(Folders()).offers(interval_ends(date(2026, 10, 1))) == []


def test_a_folder_that_fails_is_remembered_and_the_rungs_beyond_it_are_asked() -> None:
    class Failing(Folders):
        def listing(self, folder: str) -> list[RemoteFile]:
            if "CURRENT" in folder:
                raise SourceError("Status 418", folder)
            return super().listing(folder)

    climbing = ladder(Failing(ARCHIVE=["PUBLIC_DISPATCHIS_20261120.zip"]))

    offers = climbing.offers(interval_ends(date(2026, 11, 20)))

    assert [offer.source for offer in offers] == [Source.ARCHIVE]
    [error] = climbing.errors
    assert "Status 418: Reports/CURRENT/DispatchIS_Reports" in error


def test_a_file_that_was_tried_is_not_offered_again_and_the_next_rung_is_asked() -> None:
    end = datetime(2026, 11, 20, 14, 30, tzinfo=NEM_TIME)
    site = Folders(
        CURRENT=["PUBLIC_DISPATCHIS_202611201430_0000000000000001.zip"], ARCHIVE=["PUBLIC_DISPATCHIS_20261120.zip"]
    )
    climbing = ladder(site)
    [current] = climbing.offers([end])

    [archive] = climbing.offers([end], tried={file.url for file in current.files})

    assert (current.source, archive.source) == (Source.CURRENT, Source.ARCHIVE)


def test_a_folder_is_listed_once() -> None:
    site = Folders(CURRENT=[])
    climbing = ladder(site)

    climbing.offers(interval_ends(date(2026, 11, 22)))
    climbing.offers(interval_ends(date(2026, 11, 22)), widened=True)

    assert site.asked.count("Reports/CURRENT/DispatchIS_Reports") == 1


def test_a_farther_rung_is_not_asked_for_little_that_the_nearest_has() -> None:
    day = date(2026, 11, 20)
    site = Folders(CURRENT=[f"PUBLIC_DISPATCHIS_{end:%Y%m%d%H%M}_0000000000000001.zip" for end in interval_ends(day)])

    offers = ladder(site).offers(interval_ends(day)[:96])

    assert {offer.source for offer in offers} == {Source.CURRENT}
    assert site.asked == ["Reports/CURRENT/DispatchIS_Reports"]


def test_two_files_of_an_interval_are_read_together_the_later_last() -> None:
    end = datetime(2026, 11, 22, 14, 30, tzinfo=NEM_TIME)
    names = [f"PUBLIC_DISPATCHIS_202611221430_000000000000000{n}.zip" for n in (2, 1)]

    [offer] = ladder(Folders(CURRENT=names)).offers([end])

    assert [file.name[-5] for file in offer.files] == ["1", "2"]
    assert offer.covers == {end}


def test_archives_of_neighbouring_days_are_offered_only_when_widened() -> None:
    names = [f"PUBLIC_DISPATCHIS_202611{day}.zip" for day in (14, 15, 16, 17)]
    wanted = interval_ends(date(2026, 11, 15))[:1]
    climbing = ladder(Folders(ARCHIVE=names))

    plain = [o.files[0].name for o in climbing.offers(wanted) if o.source is Source.ARCHIVE]
    widened = [o.files[0].name for o in climbing.offers(wanted, widened=True) if o.source is Source.ARCHIVE]

    assert plain == ["PUBLIC_DISPATCHIS_20261115.zip"]
    assert widened == [f"PUBLIC_DISPATCHIS_202611{day}.zip" for day in (14, 15, 16)]


def test_both_estimates_of_a_week_of_rooftop_are_one_offer_for_each_of_its_days(world: World) -> None:
    friday = date(2026, 10, 30)

    archives = [offer for offer in offered(world, friday, ROOFTOP) if offer.source is Source.ARCHIVE]

    [offer] = archives
    assert {file.name for file in offer.files} == {
        f"PUBLIC_ROOFTOP_PV_ACTUAL_{kind}_20261029.zip" for kind in ("MEASUREMENT", "SATELLITE")
    }
    assert len(offer.covers) == 288


def test_a_week_of_trading_prices_covers_its_days(world: World) -> None:
    [offer] = [offer for offer in offered(world, date(2026, 11, 5), TRADING_IS) if offer.source is Source.ARCHIVE]

    assert offer.files[0].name == "PUBLIC_TRADINGIS_20261101_20261107.zip"


def test_a_mirror_is_asked_whatever_the_age() -> None:
    day = date(2019, 12, 30)
    names = [f"PUBLIC_DISPATCHIS_{end:%Y%m%d%H%M}_0000000000000001.zip" for end in interval_ends(day)]

    offers = ladder(Folders(root_url="file:///mirror", CURRENT=names)).offers(interval_ends(day))

    assert len(offers) == 288


# --- which offers are taken -----------------------------------------------------------------------------

ENDS = interval_ends(date(2026, 11, 15))
offers_strategy = st.lists(
    st.builds(
        lambda source, size, covers: Offer(
            source, (RemoteFile("x", f"http://x/{size}/{min(covers)}", size, None),), frozenset(ENDS[n] for n in covers)
        ),
        st.sampled_from(Source),
        st.integers(0, 50_000_000),
        st.sets(st.integers(0, 11), min_size=1),
    ),
    max_size=8,
)


@run_with(deadline=None)
@given(offers_strategy, st.sets(st.sampled_from(ENDS[:12])))
def test_what_is_taken_covers_everything_that_is_offered_and_wanted(offers: list[Offer], wanted: set[datetime]) -> None:
    offered = frozenset().union(*(offer.covers for offer in offers))

    taken = frozenset().union(*(offer.covers for offer in cheapest(offers, wanted)))

    assert wanted & offered <= taken


@run_with(deadline=None)
@given(offers_strategy, st.sets(st.sampled_from(ENDS[:12])))
def test_no_offer_is_taken_that_adds_nothing_to_cheaper_ones(offers: list[Offer], wanted: set[datetime]) -> None:
    # Of offers that cost the same the one that was made first goes first.
    taken = sorted(cheapest(offers, wanted), key=lambda offer: (offer.cost / len(offer.covers), offers.index(offer)))

    there: set[datetime] = set()
    for offer in taken:
        assert (wanted & offer.covers) - there
        there |= offer.covers


def test_one_archive_is_cheaper_than_its_288_files() -> None:
    small = [Offer(Source.CURRENT, (RemoteFile(str(e), f"u{e}", 19_600, None),), frozenset({e})) for e in ENDS]
    large = Offer(Source.ARCHIVE, (RemoteFile("day", "u", 5_600_000, None),), frozenset(ENDS))

    assert cheapest([*small, large], ENDS) == [large]


def test_twenty_small_files_are_cheaper_than_an_archive() -> None:
    ends = ENDS[:20]
    small = [Offer(Source.CURRENT, (RemoteFile(str(e), f"u{e}", 19_600, None),), frozenset({e})) for e in ends]
    large = Offer(Source.ARCHIVE, (RemoteFile("day", "u", 5_600_000, None),), frozenset(ends))

    assert cheapest([large, *small], ends) == small


def test_an_unlisted_size_is_taken_for_that_of_an_archive() -> None:
    known = Offer(Source.ARCHIVE, (RemoteFile("a", "a", 4_000_000, None),), frozenset(ENDS))
    unknown = Offer(Source.ARCHIVE, (RemoteFile("b", "b", None, None),), frozenset(ENDS))

    assert cheapest([unknown, known], ENDS) == [known]


def test_an_interval_is_due_in_archive_only_after_some_days() -> None:
    site = Folders(ARCHIVE=["PUBLIC_DISPATCHIS_20261122.zip"])

    ladder(site).offers([NOW - timedelta(hours=2)])

    assert site.asked == ["Reports/CURRENT/DispatchIS_Reports"]
