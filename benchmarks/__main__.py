"""``python -m benchmarks``: the short latency suite; further options are those of ``portproof bench run``."""

import runpy
import sys

sys.argv[:] = ["portproof", "bench", "run", "--suite", "benchmarks.googlenet:SHORT", *sys.argv[1:]]
runpy.run_module("portproof", run_name="__main__", alter_sys=True)
