"""Inject faults into real jobs and report what happened. `scorecard` has a function for each row of docs/reliability.md."""
