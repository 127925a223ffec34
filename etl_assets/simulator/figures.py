"""How AEMO prints numbers. All figures are integers in units of a power of ten, so printing never rounds.

Three habits occur in the files. *Plain*: trailing zeros dropped (``86``, ``159.95``). *Pairs*: six decimals
with trailing zeros dropped two at a time, as Oracle prints base-100 numbers (``0.20``, ``13.5060``,
``23.378441``). *Fixed*: all decimals kept (the 5MIN report's ``0.00010``).
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal


def plain(units: int, decimals: int) -> str:
    """An integer of 10**-decimals units, trailing zeros dropped."""
    if not decimals:
        return str(units)
    return fixed(units, decimals).rstrip("0").rstrip(".")


def pairs(units: int, decimals: int) -> str:
    """The same with trailing zeros dropped in pairs; an odd number of decimals gets one more."""
    text = fixed(units * 10, decimals + 1) if decimals % 2 else fixed(units, decimals)
    while text.endswith("00") and "." in text:
        text = text[:-2]
    return text.rstrip(".")


def fixed(units: int, decimals: int) -> str:
    """The same with every decimal kept."""
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


def plain_column(units: Iterable[int], decimals: int) -> list[str]:
    """Many figures at once, as :func:`plain`.

    A float holds 15 digits exactly, more than any figure here has.
    """
    if not decimals:
        return [str(value) for value in units]
    scale = 10**decimals
    return [f"{value / scale:.{decimals}f}".rstrip("0").rstrip(".") for value in units]


def pairs_column(units: Iterable[int], decimals: int) -> list[str]:
    """Many figures at once, as :func:`pairs`."""
    return [pairs(value, decimals) for value in units]


def trim(printed: str) -> str:
    """A figure as the archives since August 2024 print it: trailing zeros dropped."""
    return printed.rstrip("0").rstrip(".") if "." in printed else printed


def round_half_up(units: int, divisor: int) -> int:
    """``units / divisor`` to the nearest integer, exact halves away from zero (as ``ROUND_HALF_UP``)."""
    quotient, rest = divmod(abs(units), divisor)
    rounded = quotient + (2 * rest >= divisor)
    return -rounded if units < 0 else rounded


def cents(rrp: Decimal) -> Decimal:
    """A price rounded half up to whole cents, as the market settles it."""
    return rrp.quantize(Decimal("0.01"), ROUND_HALF_UP)
