"""A job that sleeps, one partition an item; for measuring everything but the job."""
