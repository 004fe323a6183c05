"""Compare what other engines read from Iceberg tables, at three moments, with the commits of the lake and the files of the site.

Engines that are too large for the lock file get an environment each, with pinned packages. Run by hand: `tests/test_iceberg.py` and
`tests/test_iceberg_marts.py` compare the engines that are in the lock file.
"""
