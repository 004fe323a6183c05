"""Load committed lake partitions into the raw tables of the warehouse. docs/loading.md has the load paths.

__main__        options and verbs
runner          selects partitions, loads them in parallel, records the outcomes in the receipt
discovery       finds the partitions with new commits in the logs of the lake
load            loads the commits of one partition and chooses the load path
copy            copies a Parquet file with COPY; parquet: reads it; file_diff: compares two versions of it
reload          loads all commits of a dataset into a table of another shape; shape: what decides the shape; conversion: of values
restatement     finds and writes the rows that a commit closes and adds
tables          raw tables, staging tables and leaves; partitioning: names and bounds of leaves; types: column types
ledger          the ledger row of a load, and the quarantined rows
clocks          the moment at which a commit became known
session         connections, locks, and the translation of Postgres errors
policy          the limits between the load paths
"""
