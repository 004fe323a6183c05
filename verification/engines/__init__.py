"""Compare what other engines read from the Iceberg tables of a lake with what `finelt.read` reads from its commits.

Engines that are too large for the lock file get an environment each, with pinned packages. Run by hand, with a lake whose tables
register-iceberg-tables has made. `tests/test_iceberg.py` compares the engines that are in the lock file.
"""
