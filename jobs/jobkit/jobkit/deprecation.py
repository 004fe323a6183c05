"""Old names of options and environment variables, which work for one more version and log a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

OPTIONS = {"--patience": "--retry-timeout"}  # renamed in 0.2.0
VARIABLES = {"FINELT_PATIENCE": "FINELT_RETRY_TIMEOUT", "FINELT_KILL_AT": "FINELT_FAILPOINT"}  # renamed in 0.2.0


def replace_old_names(words: Sequence[str], environ: MutableMapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the command line with current option names, and one warning for each old name in it or in the environment.

    Sets the variable with the current name where only the old one is set.
    """
    current, old_names = [], dict[str, str]()
    for word in words:
        name, equals, value = word.partition("=")
        if name in OPTIONS:
            old_names[name] = OPTIONS[name]
        current.append(OPTIONS.get(name, name) + equals + value)
    for name in VARIABLES.keys() & environ.keys():
        old_names[name] = VARIABLES[name]
        environ.setdefault(VARIABLES[name], environ[name])
    return current, [f"{old} is deprecated and will be removed in the next version; use {new}" for old, new in sorted(old_names.items())]


def current_option(name: str) -> str:
    """Return the current name of an option that a launcher passes by its parameter name, such as `patience`."""
    option = f"--{name.replace('_', '-')}"
    return OPTIONS[option].removeprefix("--").replace("-", "_") if option in OPTIONS else name
