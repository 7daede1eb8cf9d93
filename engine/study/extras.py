"""Packages that only a study needs, and that a plain installation does not bring."""

from importlib import import_module

from engine.errors import SetupError


def needed(package: str, extra: str) -> None:
    """Raise SetupError, which says how to install it, where a package is not there."""
    try:
        import_module(package)
    except ImportError:
        raise SetupError(
            f"This needs {package}, which is not installed. In the folder of the program: "
            f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
        ) from None
