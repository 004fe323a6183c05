"""Run the command."""

from __future__ import annotations

from finelt.contracts import main

main(prog_name="scripts/contracts")
