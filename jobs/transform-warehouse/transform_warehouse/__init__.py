"""Build and test the marts with dbt, in Postgres.

| Module | Contents |
|---|---|
| `project`, `manifest_cache` | find the dbt project and parse it, once per version |
| `dbt` | run dbt and turn its results into the receipt |
| `build_log` | the log of builds in the warehouse: what is new, and whether a partial build is enough |
| `lineage` | the datasets behind each mart, and what a new load affects |
| `field_lineage` | the fields of datasets behind each column of a mart |
| `as_of`, `moment` | views of the marts as of a moment |
"""
