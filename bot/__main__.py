"""The console script: Ctrl-C while the program is still being read is no traceback either."""

import os
import sys


def main() -> None:
    # no plugin of pydantic's is used, and looking for some takes a while
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from bot.cli.app import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
