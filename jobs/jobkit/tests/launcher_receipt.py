"""A receipt for the tests of the launchers."""

from __future__ import annotations

from typing import Any

RECEIPT: dict[str, Any] = {
    "job": "extract-things",
    "status": "done",
    "exit_code": 0,
    "rows": 7,
    "committed": 2,
    "unchanged": 0,
    "quarantined": 0,
    "elapsed_s": 1.5,
    "peak_rss_bytes": 1,
    "partitions": [
        {"dataset": "things", "partition": "year=2012", "outcome": "committed", "rows": 3, "sha256": "ab"},
        {"dataset": "others", "partition": "year=2012", "outcome": "committed", "rows": 4, "sha256": "cd"},
    ],
}
