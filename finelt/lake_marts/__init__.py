"""Build the daily marts of prices, returns and valuations from the Iceberg tables of the lake, on many machines.

- `command`: the command `finelt lake-marts`.
- `definitions`: the SQL of the marts, which is that of the dbt project, and the small tables they join.
- `groups`: divides the securities, so that each group can be built alone.
- `builder`: builds the marts of one group with DuckDB; what a Ray worker runs.
- `tables`: reads and replaces the Iceberg tables; with `builder` and `expiry`, all that knows pyiceberg.
- `expiry`: deletes old builds.
- `functions.sql`: what the SQL calls in DuckDB to get Postgres' digits.
"""
