"""``python -m sessionstore``: the command line."""

import sys

from sessionstore.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
