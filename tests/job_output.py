"""What a job wrote and how it ended, for tests that run jobs as processes or in containers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jobkit.receipt import Receipt


@dataclass(frozen=True)
class JobOutput:
    """The exit code of a job and its output."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        (line,) = self.stdout.splitlines()
        document = json.loads(line)
        assert isinstance(document, dict)
        return document

    @property
    def receipt(self) -> Receipt:
        """The receipt on stdout."""
        return cast("Receipt", self.document)
