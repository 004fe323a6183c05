"""The version of a deployment: that of its job, what exactly runs (an image), and the revision of the repository.

Prefect shows it on the page of a deployment and keeps it with each run, so that a run says what ran.
"""

from __future__ import annotations

import subprocess

from jobs.catalogue import REPOSITORY

REVISION_DIGITS, DIGEST_CHARACTERS = 12, len("sha256:") + 12


def describe_version(version: str, image: str | None, revision: str | None) -> str:
    """Return the parts that are known: `0.2.0 sha256:0123456789ab git:0123456789ab`. `image` is an image by digest or by tag."""
    build = image and (image.partition("@")[2][:DIGEST_CHARACTERS] or image.rpartition(":")[2])
    return " ".join(filter(None, [version, build, revision and f"git:{revision[:REVISION_DIGITS]}"]))


def read_revision() -> str | None:
    """Return the commit of this checkout; None if it is none, as in an image."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
