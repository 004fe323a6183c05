"""A split's ratio as the fraction that the companies announced, from the decimal that a vendor made of it."""

from __future__ import annotations

from decimal import Context
from fractions import Fraction

NOISE = Fraction(1, 10**14)  # relative; the last bits of a double
DOUBLE = Context(prec=17)  # all the digits that a double can need
LARGEST = 10**9  # new shares per old one, or old per new; no split comes near it
SMALLEST_PART = 10**15  # denominator; both numbers then fit 64 bits


def split_ratio(text: str) -> Fraction | None:
    """The ratio, new shares per old share; None where the text is no ratio.

    A decimal may be a fraction that was rounded or cut, so the simplest fraction is looked for that would be written so: at most half a
    unit of the last digit below the text and less than one unit above, or within the noise of a double. It is the ratio if it is simple
    for so many digits (numerator times denominator at most a hundredth of ten to their number), as chance seldom makes it:
    0.333, 0.03333333 and 0.03333333333333333 are 1/3 and 1/30. Else the decimal is exact: 1.05 is 21/20, 0.000064 is 1/15625.
    """
    try:
        decimal = DOUBLE.create_decimal(text)
    except ArithmeticError:  # no number, or one beyond every exponent
        return None
    if not decimal.is_finite() or not 1 <= decimal * LARGEST <= LARGEST**2:
        return None
    exact = Fraction(decimal)
    _, digits, exponent = decimal.as_tuple()
    unit = Fraction(10) ** int(exponent)
    likely = simplest(exact - max(unit / 2, exact * NOISE), exact + max(unit * 99 / 100, exact * NOISE))
    return likely if likely.numerator * likely.denominator * 100 <= 10 ** len(digits) else exact.limit_denominator(SMALLEST_PART)


def simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest denominator between two positive ones, both included."""
    whole = -(-low.numerator // low.denominator)  # the next integer at or above
    if whole <= high:
        return Fraction(whole)
    floor = whole - 1
    rest = simplest(1 / (high - floor), 1 / (low - floor))
    return floor + 1 / rest
