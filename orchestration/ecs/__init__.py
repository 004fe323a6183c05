"""What runs in AWS after a deployment: `register_stack` prepares the stack, `task_failures` ends the runs of tasks that died."""
