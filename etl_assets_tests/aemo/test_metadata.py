"""What Dagster shows of a market day: its counts mean what those of its checks mean."""

from etl_assets.aemo.completeness import DayStatus, State
from etl_assets.aemo.feeds import DISPATCH_REGION_FEED
from etl_assets.aemo.figures import DayFigures
from etl_assets.aemo.metadata import day_metadata
from etl_assets_tests.aemo.conftest import DAY, DUE, NOW


def test_an_interval_that_lacks_a_region_is_partial_and_not_missing() -> None:
    states = dict(zip(DUE[:4], [State.COMPLETE, State.PARTIAL, State.MISSING, State.MISSING], strict=True))
    lacking = {DUE[1]: ("SA1",), DUE[2]: ("*",), DUE[3]: ("*",)}

    found = day_metadata(DayStatus(DISPATCH_REGION_FEED, DAY, states, lacking, NOW), DayFigures())

    counts = (found["intervals_complete"], found["intervals_missing"], found["intervals_partial"])
    assert counts == (1, 2, 1)
