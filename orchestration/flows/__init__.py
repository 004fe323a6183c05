"""The flows: `daily` and `backfill`. Each is a module with one flow function."""
