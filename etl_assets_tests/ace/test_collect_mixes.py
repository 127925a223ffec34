"""Collecting under any mix of the simulated account's faults."""

from collections.abc import Callable
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.ace.plan import SyncWindow
from etl_assets.simulator.faults import CATALOGUE, Scope
from etl_assets_tests.ace.conftest import NOW, Building

MINUTE = timedelta(minutes=1)
PAGES = "*/timeseries/paginated"
SPOILING = ("bad_times", "bad_values", "missing_names")
ANY = sorted({kind.name for kind in CATALOGUE.values() if kind.scope is Scope.ACE} - {"weather_null"})
ALSO = ("too_many_requests_silent", "server_error", "cut_body", "html_with_200")
MIXES = st.dictionaries(st.sampled_from([*ANY, *ALSO]), st.sampled_from([1, 2, 5, None]), min_size=1, max_size=4)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MIXES, st.sampled_from([3, 10, 50]), st.sampled_from(["ace_url", "ace_v1_url"]))
def test_under_any_faults_nothing_is_doubled_or_invented_and_complete_means_complete(
    new_building: Callable[..., Building], mix: dict[str, int | None], page_size: int, root: str
) -> None:
    building = new_building(page_size=page_size)
    building = building.changed(page_size=page_size, ace_api_url=getattr(building.server, root))
    window = SyncWindow(NOW - 2 * MINUTE, NOW)
    truth = {(name, at): value for name, at, value in building.truth(window.start, window.end)}
    if "repeated_page" in mix:
        # Damaged as well, a page that is the one before cannot be told from the next.
        mix = {"repeated_page": mix["repeated_page"]}
    for name, times in mix.items():
        building.server.faults.switch_on(name, PAGES, times=times, limit=5)

    invalid = 0
    for _ in range(2):
        invalid += sum(result.readings.invalid for result in building.collect(window))
        stored = building.stored()
        found = {(name, at): value for name, at, value in stored}
        assert len(found) == len(stored)
        assert all(value in (truth[key], -1.0) for key, value in found.items())
        assert -1.0 not in found.values() or "duplicate_records" in mix
        if building.windows == [(window.start, window.end, "complete")]:
            assert len(found) + invalid >= len(truth)
            assert found.keys() == truth.keys() or set(SPOILING) & mix.keys()

    building.server.faults.switch_off()
    building.collect(window, now=NOW + MINUTE, anew=True)

    assert building.stored() == building.truth(window.start, window.end)
    assert building.windows == [(window.start, window.end, "complete")]
    building.assert_aggregates()
