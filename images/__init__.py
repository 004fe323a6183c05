"""One image per job: what goes into each, building, measuring and pushing them."""
