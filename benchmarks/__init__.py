"""The latency suites of these ports."""
