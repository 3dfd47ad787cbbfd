"""Noise floors, verdicts, and the report as a value."""
