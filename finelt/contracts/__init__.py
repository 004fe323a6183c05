"""`finelt contracts`: lint the data contracts, and list what a change to one breaks downstream.

`lint` finds problems, `changes` compares two versions, `dbt_project` knows which models and marts read a column.
"""

from __future__ import annotations

from finelt.contracts.command import main

__all__ = ["main"]
