"""jobkit: the runtime that every job shares. A job imports what it needs from a module of this map; the package itself imports nothing.

| Module | What it is for |
|---|---|
| *The command* | |
| `command` | build a job's command: verbs, receipt, exit code |
| `options` | the options that jobs share |
| `declaration` | what a job declares in its pyproject.toml |
| `errors` | the tree of errors, and the exit codes |
| `receipt` | the JSON object on stdout |
| `logs` | logs and progress on stderr |
| `interruption` | SIGTERM, deadlines, and blocking calls that both can interrupt |
| `deprecation` | old names of options and variables |
| `version` | the version of finelt, and the option `--version` |
| `failpoints` | points at which a test can kill the process |
| *An extractor* | |
| `extractor` | build an extractor's command |
| `requests` | what an extractor declares: requests, client, parser |
| `rest` | a vendor's REST API as a table, and the command of its job |
| `paging`, `archives`, `database` | lists that come in pages; clients for zip files on a server and for Postgres databases |
| `extraction` | run it: fetch, parse, validate, commit, record |
| `parse_processes` | parse many documents in other processes |
| `response_checks` | decide which error a response is |
| `refusals`, `edgar` | what a vendor's refusals mean; SEC's EDGAR: what it refuses and requires, its filings |
| `contracts` | what the rows of a dataset must be; validation and quarantine |
| `column_types` | column types in contracts, Arrow and Postgres |
| `names` | names of columns |
| `identifiers` | ISIN, CUSIP, SEDOL, LEI and currencies |
| `notation` | numbers and dates as a file writes them |
| `csvtext`, `lossless_json`, `xml_documents` | parse CSV and JSON without changing a value, and XML without document types |
| *The lake* | |
| `lake` | partitions and their commits |
| `commits`, `commit_log`, `expired_commits` | the commit record, the log that announces commits, the record of deleted ones |
| `formats` | the formats of what is stored, and the refusal of newer ones |
| `site_pointer` | which version of a published site is the current one |
| `partition_writer` | commit validated rows and record the outcome |
| `changes` | compare two versions of a partition |
| `stores` | objects on a local directory or in S3 |
| `files` | write a local file atomically |
| `zip_errors` | what an archive that cannot be read raises |
| *HTTP* | |
| `http` | the client: rate, retries, conditional requests, limits |
| `network` | which addresses it may connect to |
| `headers`, `body` | read a response's header and body |
| `oauth` | log in with OAuth's client credentials |
| `rate_limit` | pace requests |
| *Secrets and URLs* | |
| `secrets` | resolve references to secrets |
| `redaction` | mask secrets in all output |
| `urls` | check URLs in options and in the environment |
| *The warehouse and the launcher* | |
| `postgres` | what a failure of the warehouse means |
| `migrations` | the numbered steps of the warehouse's schemas |
| `launchers` | report to Prefect, Dagster, Airflow, Argo, Step Functions |
| `prefect_api` | a client of the Prefect server's API |
| `telemetry` | OpenLineage events and OpenTelemetry spans |

`describe` of a job must answer within 0.2 s, so `command`, `options`, `declaration`, `extractor`, `requests`, `rest`, `column_types` and
what they import at their top load nothing heavy; `tests/test_job_contract.py` lists what is heavy.
"""
