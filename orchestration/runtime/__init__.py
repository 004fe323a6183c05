"""What runs inside a flow. `run_job.run_job` starts a job and returns its receipt; nothing else starts one."""
