"""Fill a new lake of the demo with what the sample vendors had to deliver on three past days, as if finelt had run then.

They make the past of the demo: Apple's revenue of fiscal 2009 was filed on 2009-10-27 and restated on 2010-01-25.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import ExitCode, MisconfiguredError, TemporaryError
from jobkit.lake import Lake

from orchestration.local.sample_parameters import CIKS, CONTACT, SAMPLE_START

if TYPE_CHECKING:
    from collections.abc import Sequence


class Delivery(NamedTuple):
    """The moment at which the answers of a job's vendor came, the dataset that they fill, and the job's own options."""

    received_at: str
    job: str
    dataset: str
    host: str
    options: Sequence[str]

    @property
    def last_day(self) -> str:
        """The day on which the answers came, half an hour after the Treasury publishes; the vendor had its figures."""
        return str(datetime.fromisoformat(self.received_at).date())


_SEC = ("extract-sec-company-facts", "sec_company_facts", "data.sec.gov", ("--ciks", CIKS[0], "--contact", CONTACT))
_TREASURY = ("extract-treasury-yields", "treasury_par_yields", "home.treasury.gov", ("--lookback-days", "0", "--start", SAMPLE_START))
DELIVERIES = (
    Delivery("2010-01-20T23:30:00Z", *_SEC),
    Delivery("2010-02-01T23:30:00Z", *_SEC),
    Delivery("2013-01-14T23:30:00Z", *_TREASURY),
)


def deliver(lake: Path, vendors: str) -> None:
    """Run the job of each delivery, in their order, unless the lake has later commits of the dataset.

    Raises MisconfiguredError or TemporaryError with the job's own message.
    """
    for delivery in DELIVERIES:
        if _is_delivered(Lake(str(lake)), delivery):
            continue
        words = ["--received-at", delivery.received_at, "--base-url", f"{vendors}/{delivery.last_day}/{delivery.host}", *delivery.options]
        if "--start" in words:
            words += ["--end", delivery.last_day]
        command = [str(Path(sys.executable).with_name(delivery.job)), "run", "--lake", str(lake), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            kind = MisconfiguredError if done.returncode == ExitCode.MISCONFIGURED else TemporaryError
            raise kind(f"{delivery.job} as of {delivery.last_day}: {json.loads(done.stdout)['error']}")


def _is_delivered(lake: Lake, delivery: Delivery) -> bool:
    """Whether each partition of the dataset has a commit of the delivery's moment or later; not for a dataset without any."""
    moment = datetime.fromisoformat(delivery.received_at)
    heads = [lake.read_state(delivery.dataset, partition).head for partition in lake.partitions(delivery.dataset)]
    return bool(heads) and all(head is not None and head.known >= moment for head in heads)
