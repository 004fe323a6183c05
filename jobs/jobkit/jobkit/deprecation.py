"""Old names that work for one more version and log a warning. For options, see `options.RenamedOption`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VARIABLES = {"FINELT_KILL_AT": "FINELT_FAILPOINT"}  # renamed in 0.2.0
PARAMETERS = {"patience": "retry_timeout"}  # options as a launcher stores them; renamed in 0.2.0


def rename_variables(environ: MutableMapping[str, str]) -> list[str]:
    """Set each renamed variable from its old name where only that is set; return one warning for each old name."""
    warnings = []
    for old, new in VARIABLES.items():
        if old in environ:
            environ.setdefault(new, environ[old])
            warnings.append(f"{old} is deprecated and will be removed in the next version; use {new}")
    return warnings


def rename_parameters(options: dict[str, object]) -> dict[str, object]:
    """Return a launcher's option values under the current names."""
    return {PARAMETERS.get(name, name): value for name, value in options.items()}
