"""Benchmarks of jobs and of Prefect's overhead, written to docs/benchmarks.md."""
