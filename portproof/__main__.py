"""``python -m portproof``."""

from portproof.cli._app import main

if __name__ == "__main__":
    main()
