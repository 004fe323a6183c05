"""The pipeline on one machine: `demo` is the command, `stack` starts Postgres, sample vendors, a Prefect server and a worker."""
