"""Latency benchmarks: fresh processes, interleaved, on the artefacts that have just passed parity."""

from portproof.bench._result import BenchResult, Suite, read_result

__all__ = ["BenchResult", "Suite", "read_result"]
