"""``python -m convert SRC DST``: a checkpoint of GoogLeNet for the other framework."""

import runpy
import sys

sys.argv[:] = ["portproof", "convert", "--port", "convert.googlenet:GOOGLENET", *sys.argv[1:]]
runpy.run_module("portproof", run_name="__main__", alter_sys=True)
