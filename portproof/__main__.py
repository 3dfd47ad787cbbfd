"""``python -m portproof``."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

if not sys.flags.safe_path and sys.path and sys.path[0] == str(Path.cwd()):
    del sys.path[0]  # Python puts it there for -m; a folder from elsewhere may hold a numpy.py
    if PathFinder.find_spec("portproof", sys.path) is None:  # a checkout that is not installed: its sides run it, too
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
        )

from portproof.cli._app import main

if __name__ == "__main__":
    main()
