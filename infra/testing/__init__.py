"""Run the Pulumi program without AWS: `mock_engine.graph` returns the resources that it would create."""
