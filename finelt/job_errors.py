"""End a command of finelt with the message and exit code of a job's error."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from jobkit.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def exit_on_job_error(command: str) -> Iterator[None]:
    """Print the message of a JobError, preceded by the command's name, and exit with its code."""
    try:
        yield
    except JobError as error:
        click.echo(f"{command}: {error}", err=True)
        sys.exit(error.exit_code)
