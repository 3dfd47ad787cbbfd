"""A checkout that is not installed, on a bare machine: ``python -m portproof`` inside it."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
_RUN = """
import os, runpy, sys
sys.path[0] = os.getcwd()  # as -m does
sys.argv = ["portproof", "--version"]
try:
    runpy.run_module("portproof", run_name="__main__")
finally:
    print(os.environ["PYTHONPATH"])
"""


def test_its_sides_find_the_checkout():
    packages = sysconfig.get_paths()["purelib"]
    environment = {**os.environ, "PYTHONPATH": packages}
    # -S: packages of the environment without what it has installed from elsewhere, this checkout among it.
    done = subprocess.run(
        [sys.executable, "-S", "-c", _RUN], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == f"{ROOT}{os.pathsep}{packages}", done.stderr
