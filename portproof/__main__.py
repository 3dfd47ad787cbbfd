"""``python -m portproof``."""

from portproof._cli import main

if __name__ == "__main__":
    main()
