"""Registers the commits of the lake, and the versions of a site, in Iceberg tables.

- `__main__`: the options and verbs.
- `history`: which commits become which snapshots; pure.
- `published`: which versions of a mart become which snapshots.
- `tables`: an Iceberg table, and how a snapshot is added to it; the only module that knows pyiceberg, with `catalogs`.
- `catalogs`: opens the catalogue of the tables.
- `runner`: goes through the datasets and the marts, and records the outcomes.
"""
