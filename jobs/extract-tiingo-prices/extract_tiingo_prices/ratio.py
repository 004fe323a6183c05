"""Recover the announced fraction of a split from a vendor's decimal."""

from __future__ import annotations

from decimal import Context
from fractions import Fraction

NOISE = Fraction(1, 10**14)  # relative; the last bits of a double
DOUBLE = Context(prec=17)  # the most digits a double needs
LARGEST = 10**9  # new shares per old share, or the inverse; no real split comes close
SMALLEST_PART = 10**15  # denominator; numerator and denominator then fit 64 bits


def split_ratio(text: str) -> Fraction | None:
    """Return the ratio, in new shares per old share; None if the text is not a ratio.

    The decimal may be a rounded or truncated fraction. Find the simplest fraction that would be written so: at most half a unit of the last
    digit below the text and less than one unit above it, or within the noise of a double. It is the ratio if it is too simple to be chance:
    numerator times denominator is at most a hundredth of ten to the number of digits. 0.333 is 1/3; 0.03333333 and 0.03333333333333333 are
    1/30. Otherwise the decimal is exact: 1.05 is 21/20, 0.000064 is 1/15625.
    """
    try:
        decimal = DOUBLE.create_decimal(text)
    except ArithmeticError:  # not a number, or its exponent is out of range
        return None
    if not decimal.is_finite() or not 1 <= decimal * LARGEST <= LARGEST**2:
        return None
    exact = Fraction(decimal)
    _, digits, exponent = decimal.as_tuple()
    unit = Fraction(10) ** int(exponent)
    likely = simplest_between(exact - max(unit / 2, exact * NOISE), exact + max(unit * 99 / 100, exact * NOISE))
    return likely if likely.numerator * likely.denominator * 100 <= 10 ** len(digits) else exact.limit_denominator(SMALLEST_PART)


def simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction with the smallest denominator between two positive fractions, inclusive. Source: Stern-Brocot tree."""
    whole = -(-low.numerator // low.denominator)  # the next integer at or above
    if whole <= high:
        return Fraction(whole)
    floor = whole - 1
    rest = simplest_between(1 / (high - floor), 1 / (low - floor))
    return floor + 1 / rest
