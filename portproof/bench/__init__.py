"""Latency benchmarks: fresh processes, interleaved, on the artefacts that have just passed parity."""

from portproof.bench._suite import Suite

__all__ = ["Suite"]
