"""The tools behind the `scripts/` commands: contracts, lake, quarantine, replay, rebuild, sql, doctor, new job, job pages.

Each module is a command, started with `python -m finelt.MODULE`, and its functions are what other tools may import.
"""
