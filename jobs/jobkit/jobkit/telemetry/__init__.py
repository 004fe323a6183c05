"""Optional telemetry, enabled by environment variables: OpenLineage events, OpenTelemetry spans. A failure never affects the run."""
