"""Start Prefect workers: `command` on this machine, `process` in a container."""
