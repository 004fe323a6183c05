"""The option --as-of: a moment in the past. The setting finelt.as_of of the as-of views accepts and refuses the same, in the same words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from click import Context, Parameter

    from transform_warehouse.build_log import BuildLog

PATTERN = re.compile(
    r"(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]"
    r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-5])(:?[0-5]\d)?)",
    re.ASCII,
)
EXPECTED = "expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z"


class MomentType(click.ParamType[datetime]):
    """A date and a time with Z or an offset. Whether it has passed is decided by the warehouse's clock: `check_moment_passed`."""

    name = "timestamp"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> datetime:
        """Return the moment in UTC, clipped to the years that Python has: nothing was known before the first."""
        text = str(value)
        if not PATTERN.fullmatch(text):
            self.fail(f"as-of is {text!r}; {EXPECTED}", param, ctx)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"as-of is {text!r}; {EXPECTED}", param, ctx)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


def check_moment_passed(build_log: BuildLog, as_of: datetime | None) -> None:
    """Raise UsageError if the moment is in the future by the warehouse's clock, which is also the clock of the as-of views."""
    if as_of and build_log.execute("select %s > clock_timestamp() as is_future", as_of)[0]["is_future"]:
        raise UsageError(f"as-of is {as_of.isoformat()!r}; {EXPECTED}")
