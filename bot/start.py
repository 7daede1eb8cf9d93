"""The console script: Ctrl-C while the program is still being read is no traceback either."""

import sys


def main() -> None:
    """`pastiche`."""
    try:
        from bot.__main__ import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)
