"""Old names that work for one more version and log a warning. For options, see `options.RenamedOption`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

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


def rename_parameters(options: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Return option values under the current names, and one warning for each old name. A value under the current name wins."""
    values, warnings = {name: value for name, value in options.items() if name not in PARAMETERS}, []
    for old, new in PARAMETERS.items():
        if old in options:
            values.setdefault(new, options[old])
            warnings.append(f"the parameter {old} is deprecated and will be removed in the next version; use {new}")
    return values, warnings
