from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.simulator.figures import fixed, pairs, pairs_column, plain, plain_column, round_half_up, trim

UNITS = st.integers(-(10**13), 10**13)


@pytest.mark.parametrize(
    ("units", "decimals", "printed"),
    [
        (24265268, 5, "242.65268"),
        (8600000, 5, "86"),
        (0, 5, "0"),
        (-10, 5, "-0.0001"),
        (120, 0, "120"),
        (-5, 2, "-0.05"),
    ],
)
def test_plain_figures_drop_trailing_zeros(units: int, decimals: int, printed: str) -> None:
    assert plain(units, decimals) == printed


@pytest.mark.parametrize(
    ("units", "printed"),
    [(200_000, "0.20"), (13_506_000, "13.5060"), (23_378_441, "23.378441"), (-1_000_000, "-1"), (0, "0")],
)
def test_pairs_drop_trailing_zeros_two_at_a_time(units: int, printed: str) -> None:
    assert pairs(units, 6) == printed


def test_the_report_keeps_every_decimal() -> None:
    assert fixed(10, 5) == "0.00010"


@given(UNITS, st.integers(0, 6))
def test_printing_never_changes_a_value(units: int, decimals: int) -> None:
    value = Decimal(units).scaleb(-decimals)

    for text in (
        plain(units, decimals),
        pairs(units, decimals),
        fixed(units, decimals),
        trim(fixed(units, decimals)),
    ):
        assert Decimal(text) == value


@given(st.lists(UNITS), st.integers(0, 6))
def test_a_column_prints_as_its_figures_do(units: list[int], decimals: int) -> None:
    assert plain_column(units, decimals) == [plain(value, decimals) for value in units]
    assert pairs_column(units, decimals) == [pairs(value, decimals) for value in units]


@given(UNITS, st.integers(1, 10**6))
def test_halves_are_rounded_away_from_zero(units: int, divisor: int) -> None:
    expected = (Decimal(units) / Decimal(divisor)).quantize(Decimal(1), ROUND_HALF_UP)

    assert round_half_up(units * 2, divisor * 2) == expected or abs(units) > 10**12
