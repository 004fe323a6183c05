"""The flows: `daily`, `backfill` and `reconcile`. Each is a module with one flow function."""
