"""The moment that the marts are asked for. The setting finelt.as_of of the views takes and refuses the same, with the same words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from click import Context, Parameter

    from transform_warehouse.build_log import Books

FORM = re.compile(
    r"(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]"
    r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-5])(:?[0-5]\d)?)",
    re.ASCII,
)
EXPECTED = "expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z"


class Moment(click.ParamType[datetime]):
    """A moment with its time zone: a date, a time and Z or an offset. Whether it has passed says the warehouse's clock (`check_passed`)."""

    name = "timestamp"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> datetime:
        """The moment in UTC; the first that there is, for an earlier one, of which nothing was known either."""
        text = str(value)
        if not FORM.fullmatch(text):
            self.fail(f"as-of is {text!r}; {EXPECTED}", param, ctx)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"as-of is {text!r}; {EXPECTED}", param, ctx)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


def check_passed(book: Books, as_of: datetime | None) -> None:
    """Nothing, when the moment has passed by the warehouse's clock, which is also that of the views. Raises UsageError otherwise."""
    if as_of and book.rows("select %s > clock_timestamp() as ahead", as_of)[0]["ahead"]:
        raise UsageError(f"as-of is {as_of.isoformat()!r}; {EXPECTED}")
