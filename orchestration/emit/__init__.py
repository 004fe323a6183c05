"""Emit definitions of jobs for other schedulers. `python -m orchestration.emit` is the command; each target is a module."""
