"""Start a flow from a terminal and follow it: `follow` reads its progress from Prefect's API, `reporter.FlowReporter` prints it."""
