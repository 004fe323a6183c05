"""The options that jobs share, each defined once so that it means the same in every job.

Each is also the environment variable FINELT_<NAME>; the command line wins. A value that does not pass its check ends the job with exit code
2, and is not repeated in the message if it may contain a secret.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from jobkit import interruption, logs, secrets, urls
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click import Context, Parameter


MAX_LOOKBACK_DAYS = 366
EASTERNMOST_OFFSET = timedelta(hours=14)  # a day begins first in UTC+14


class BusinessDate(click.ParamType[date]):
    """A business date of the vendor, YYYY-MM-DD. `today` is the vendor's current day, in the time zone that the job declares.

    A date that has begun at a scheduler east of the vendor, but not at the vendor, means the vendor's current day.
    """

    name = "date"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> date:
        """Return the date, today at the latest. Fails on another format and on a date that has not begun anywhere on Earth (UTC+14)."""
        now = datetime.now(UTC)
        today = _day_at_vendor(now, ctx)
        if value == "today":
            return today
        try:
            day = value if isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a date; expected YYYY-MM-DD or today", param, ctx)
        if day > (now + EASTERNMOST_OFFSET).date():
            self.fail(f"{day} is in the future; no vendor has data for it yet", param, ctx)
        return min(day, today)


def _day_at_vendor(now: datetime, ctx: Context | None) -> date:
    """The calendar day in the time zone of the running job, which `command` puts into the context; in UTC without one."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415  slow to import, and describe reads no date

    return now.astimezone(ZoneInfo(getattr(ctx and ctx.obj, "timezone", "UTC"))).date()


class PastMoment(click.ParamType[datetime]):
    """A moment that has passed: a date and a time with Z or an offset."""

    name = "timestamp"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> datetime:
        """Return the moment in UTC."""
        expected = "expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z"
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no moment; {expected}", param, ctx)
        if moment.tzinfo is None or moment > datetime.now(UTC):
            self.fail(f"{value!r} has no time zone or is in the future; {expected}", param, ctx)
        return moment.astimezone(UTC)


class SecretReference(click.ParamType[str]):
    """A reference to a secret: env://NAME, file://PATH, secretsmanager://ID or ssm://NAME. A secret itself is refused, not repeated."""

    name = "secret"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> str:
        """Check the form of the reference and return it."""
        try:
            return secrets.check_reference(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class CheckedText(click.ParamType[str]):
    """A text that passes a check, which raises UsageError. A text that does not pass is not repeated: it may hold a secret."""

    name = "url"

    def __init__(self, check: Callable[[str], str]) -> None:
        self._check = check

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> str:
        """Check the text and return it. Fails with the message of the check."""
        try:
            return self._check(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class MatchingText(click.ParamType[str]):
    """A word that matches a regular expression; `expected` describes it in the message."""

    name = "text"

    def __init__(self, pattern: str, expected: str) -> None:
        self.pattern, self.expected = re.compile(pattern), expected

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> str:
        """Match the word and return it."""
        if not self.pattern.fullmatch(str(value)):
            self.fail(f"{value!r} is not {self.expected}", param, ctx)
        return str(value)


class RenamedOption(click.Option):
    """An option that also accepts its old name, on the command line and as an environment variable, with a warning."""

    def __init__(self, *args: Any, old: str, **attributes: Any) -> None:  # noqa: ANN401  click's own
        super().__init__(*args, **attributes)
        self.old = old

    def add_to_parser(self, parser: Any, ctx: Context) -> None:  # noqa: ANN401  click's own
        """Add the option under both names. Help and `describe` show the new one."""
        super().add_to_parser(parser, ctx)
        parser.add_option(obj=self, opts=[self.old], dest=self.old, action="store", nargs=1)

    def consume_value(self, ctx: Context, opts: Mapping[str, Any]) -> Any:  # noqa: ANN401  click's own
        """Return the value and where it comes from. The new name wins over the old one, as the command line over the environment."""
        value, source = super().consume_value(ctx, opts)
        if source is ParameterSource.COMMANDLINE:
            return value, source
        if self.old in opts:
            self._warn(self.old, self.opts[0])
            return opts[self.old], ParameterSource.COMMANDLINE
        variable = _variable(self.old)
        if source is not ParameterSource.ENVIRONMENT and (old_value := os.environ.get(variable)):
            self._warn(variable, _variable(self.opts[0]))
            return old_value, ParameterSource.ENVIRONMENT
        return value, source

    def _warn(self, old: str, new: str) -> None:
        logging.getLogger(logs.LOGGER).warning("deprecated name; use the new one", extra={"old": old, "new": new})


def option(name: str, cls: type[click.Option] = click.Option, **attributes: Any) -> click.Option:  # noqa: ANN401  click's own
    """A click option that is also the environment variable FINELT_<NAME>."""
    return cls([name], envvar=_variable(name), show_envvar=True, **attributes)


def _variable(name: str) -> str:
    return "FINELT_" + name.removeprefix("--").replace("-", "_").upper()


def lake() -> click.Option:
    """--lake: the root of the lake, a directory or an S3 prefix."""
    return storage("--lake", required=True, help="The lake: a directory, file:///path or s3://bucket/prefix.")


def storage(name: str, *, help: str, required: bool = False) -> click.Option:  # noqa: A002  click's own word
    """Build an option for a place that stores data: a directory, file:///path or s3://bucket/prefix."""
    return option(name, required=required, type=CheckedText(urls.check_place), metavar="URL", help=help)


def start() -> click.Option:
    """--start: the first business date."""
    return option("--start", required=True, type=BusinessDate(), help="First business date, inclusive.")


def end() -> click.Option:
    """--end: the last business date."""
    return option("--end", required=True, type=BusinessDate(), help="Last business date, inclusive.")


def lookback_days(default: int, reason: str) -> click.Option:
    """--lookback-days: the vendor's correction window in days, up to MAX_LOOKBACK_DAYS. `reason` says why it is that long."""
    return option(
        "--lookback-days",
        type=click.IntRange(0, MAX_LOOKBACK_DAYS),
        default=default,
        show_default=True,
        help=f"Also request partitions of this many days before --start, which may still change: {reason}. 0 requests none.",
    )


def tickers() -> click.Option:
    """--tickers: one or more symbols, in capitals, with a hyphen or point before the share class."""
    symbol = MatchingText(r"[A-Z0-9][A-Z0-9.\-]{0,14}", "a ticker such as AAPL or BRK-B")
    return option("--tickers", required=True, multiple=True, type=symbol, help="A ticker; repeat the option for more.")


def base_url(default: str) -> click.Option:
    """--base-url: the vendor's server, by default the real one. Its host is added to those that the job may call."""
    return option(
        "--base-url",
        default=default,
        show_default=True,
        type=CheckedText(urls.check_web),
        metavar="URL",
        help="The vendor's server; set it for a mirror or a test server.",
    )


def replay() -> click.Option:
    """--replay: rebuild each partition from the stored bytes of its newest commit, after a parser or contract was fixed."""
    return option("--replay", is_flag=True, help="Rebuild from the vendor bytes stored in the lake; no network.")


def allow_shrinking() -> click.Option:
    """--allow-shrinking: commit a response that lacks more rows of the lake than maxMissingRows of its contract allows."""
    text = "Commit responses that lack rows of the lake, and close those rows; without it such responses are refused."
    return option("--allow-shrinking", is_flag=True, help=text)


def received_at() -> click.Option:
    """--received-at: the moment of the commits, for responses that were kept elsewhere and are imported in the order they came."""
    text = (
        "When the responses came, if you kept them and import them now; a partition with a commit of that moment or later stays unchanged."
    )
    return option("--received-at", type=PastMoment(), metavar="TIMESTAMP", help=text)


def retry_timeout() -> click.Option:
    """--retry-timeout: how long to retry a request. Until 0.3, --patience and FINELT_PATIENCE are accepted with a warning."""
    text = "Seconds to retry a request while the vendor is busy or unreachable; 0 sends it once and leaves retries to the scheduler."
    return option(
        "--retry-timeout", cls=RenamedOption, old="--patience", type=click.FloatRange(0), default=60.0, show_default=True, help=text
    )


def deadline(default_s: int) -> click.Option:
    """--deadline: seconds from the start of the process after which the job gives up, at most a week. `default_s` is the declared one."""
    text = "Seconds after which the job gives up with exit code 75, whatever it waits for."
    return option("--deadline", type=click.IntRange(1, interruption.LONGEST_S), default=default_s, show_default=True, help=text)


def secret(name: str, *, default: str, help: str) -> click.Option:  # noqa: A002  click's own word
    """Build an option that takes a reference to a secret, never the secret; receipts show `***`."""
    return option(name, default=default, show_default=True, type=SecretReference(), metavar="REF", help=help)


def contact() -> click.Option:
    """--contact: the User-Agent, in which SEC requires a company and an address.

    Source: https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data
    """
    pattern = r"(?=[ -~]+\Z)[^\s<>][^<>]{0,79} [^\s@<>]+@[^\s@<>]+\.[^\s@<>]+"
    form = MatchingText(pattern, "of the form 'Company Name admin@company.example', in ASCII")
    return option(
        "--contact",
        required=True,
        type=form,
        help="Your company and address, e.g. 'Example Ltd admin@example.com'; SEC refuses anonymous clients.",
    )


def warehouse() -> click.Option:
    """--warehouse: the Postgres database of raw tables and marts."""
    return postgres("--warehouse")


def postgres(name: str) -> click.Option:
    """Build an option for a Postgres database, as a URL of libpq without a password."""
    return option(
        name,
        required=True,
        type=CheckedText(urls.check_warehouse),
        metavar="URL",
        help="postgresql://user@host:port/database, without a password.",
    )


def warehouse_password() -> click.Option:
    """--warehouse-password: a reference to the warehouse's password."""
    return secret("--warehouse-password", default="env://WAREHOUSE_PASSWORD", help="Reference to the warehouse's password.")
