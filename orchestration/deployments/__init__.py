"""Register jobs and flows as Prefect deployments: `register` is the entry point.

`descriptions` asks each job for its options, `parameters` and `schedules` say with which values and when it runs, `model` has the types.
"""
