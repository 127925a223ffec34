"""What a KPI's query may give: one finite number, or one for each of some differently named entities."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.kpi.answer import LONGEST_ENTITY, MOST_ROWS, values_of
from etl_assets.kpi.query import KpiSqlError

DAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("columns", "rows", "wrong"),
    [
        (["a", "b"], [(1, 2)], "gives 2 columns (a, b)"),
        (["a"], [(1,), (2,)], "more than one row"),
        (["a"], [("many",)], "'many', which is no number"),
        (["a"], [(True,)], "True, which is no number"),
        (["a"], [([1],)], "[1], which is no number"),
        (["a"], [(DAY,)], "datetime.date(2026, 11, 20), which is no number"),
        (["a"], [(float("nan"),)], "nan, which is no finite number"),
        (["a"], [(float("-inf"),)], "-inf, which is no finite number"),
        (["a"], [(10**400,)], "which is no finite number"),
    ],
)
def test_what_is_not_one_number_is_refused(columns, rows, wrong):
    with pytest.raises(KpiSqlError) as refused:
        values_of(columns, rows, "")

    assert wrong in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "rows", "wrong"),
    [
        (["value"], [(1,)], "gives 1 columns (value)"),
        (["a", "b", "c"], [("x", 1, 2)], "gives 3 columns"),
        (["a", "b"], [(1, "x")], "1 as region, which is no text"),
        (["a", "b"], [(None, 1)], "None as region, which is no text"),
        (["a", "b"], [("", 1)], "'' as region"),
        (["a", "b"], [("x" * (LONGEST_ENTITY + 1), 1)], "give 1 to 200 characters"),
        (["a", "b"], [("x", 1), ("x", 1)], "'x' more than once"),
        (["a", "b"], [("x", "1")], "'1' for x, which is no number"),
        (["a", "b"], [(str(n), n) for n in range(MOST_ROWS + 1)], "more than 10,000 rows"),
    ],
)
def test_what_is_not_one_number_for_each_entity_is_refused(columns, rows, wrong):
    with pytest.raises(KpiSqlError) as refused:
        values_of(columns, rows, "region")

    assert wrong in str(refused.value)


def test_as_many_rows_as_are_allowed_and_the_longest_entity_are_taken():
    rows = [(f"{n:0200}", n) for n in range(MOST_ROWS)]

    assert len(values_of(["a", "b"], rows, "region")) == MOST_ROWS


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.decimals())


@given(rows=st.lists(st.tuples(st.one_of(st.text(max_size=2), ANYTHING), ANYTHING), max_size=4))
def test_whatever_rows_come_entities_are_different_texts_and_values_finite_numbers(rows):
    try:
        values = values_of(["a", "b"], rows, "region")
    except KpiSqlError:
        return

    assert len({value.entity for value in values}) == len(rows)
    for value, (entity, number) in zip(values, rows, strict=True):
        assert value.entity == entity
        assert value.value is None if number is None else value.value == pytest.approx(float(number))
        assert not isinstance(number, bool)


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity"])
def test_a_decimal_that_is_no_number_is_refused(number):
    with pytest.raises(KpiSqlError, match="no finite number"):
        values_of(["a"], [(Decimal(number),)], "")
