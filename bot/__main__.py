"""The console script: Ctrl-C while the program is still being read is no traceback either."""

import sys


def main() -> None:
    """`pastiche`."""
    try:
        from bot.cli.app import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
