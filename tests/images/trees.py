"""Trees of files, as this checkout has them and with one change."""

from __future__ import annotations

from images import plan
from jobs.catalogue import catalogue

SPECS = catalogue()
CHECKOUT = plan.read_checkout()


def edit_file(path: str, content: bytes = b"# another line\n") -> plan.Tree:
    """Return the checkout with `content` appended to one file."""
    return {**CHECKOUT, path: CHECKOUT.get(path, b"") + content}


def list_changed(after: plan.Tree) -> list[str]:
    """Return the jobs whose image differs between the checkout and `after`."""
    return plan.list_changed(SPECS, CHECKOUT, after)
