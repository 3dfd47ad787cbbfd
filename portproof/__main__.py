"""``python -m portproof``."""

import sys
from pathlib import Path

if not sys.flags.safe_path and sys.path and sys.path[0] == str(Path.cwd()):
    del sys.path[0]  # Python puts it there for -m; a folder from elsewhere may hold a numpy.py

from portproof.cli._app import main

if __name__ == "__main__":
    main()
