"""The jobs, their runtime `jobkit`, and `catalogue`, which finds them. Import only `jobs.catalogue`: jobs are started, not imported."""
