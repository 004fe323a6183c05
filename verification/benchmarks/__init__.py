"""What Prefect costs us, measured on the machine at hand and written to docs/measured/ with the machine's facts."""
