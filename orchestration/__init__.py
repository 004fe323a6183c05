"""Prefect: flows, what runs inside them, deployments and workers; local, compose and ECS stacks; definitions for other schedulers."""
