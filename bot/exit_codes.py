"""How the program ends: one clear sentence on stderr, and an exit code that a script can use."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import typer

from bot.settings import check_names
from engine.errors import KIND_SENTENCE, AskerError, PasticheError, SetupError
from engine.monitor.logs import JsonLines, start_logs
from engine.settings import Settings, read_settings

MENDABLE = 2  # a request that the asker can mend
OURS = 1
STOPPED = 130  # as shells call a program that Ctrl-C ended

log = logging.getLogger("pastiche")


def logged_settings(name: str) -> Settings:
    """Read the settings and start the log of that name; only `serve` may log to standard output."""
    settings = read_settings()
    if name != "serve":
        settings = settings.model_copy(update={"log_to": "file"})
    start_logs(settings.home, name, settings.log_level, settings.log_to)
    return settings


class PlainLines(JsonLines):
    """Write log records as short lines for the terminal, secrets taken out."""

    def format(self, record: logging.LogRecord) -> str:
        facts = [f"{name}={value}" for name, value in self.extras(record).items()]
        if record.exc_info and record.exc_info[0]:
            facts.append(record.exc_info[0].__name__)
        time = self.formatTime(record, "%H:%M:%S")
        return self.redact(" ".join([time, record.getMessage(), *facts]))


def speak() -> None:
    """Log to stderr what an operator should see: our own notes, and everybody's warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainLines())
    handler.addFilter(lambda r: r.levelno >= logging.WARNING or r.name.startswith("bot"))
    handler.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """End a command kindly, whatever goes wrong inside the block."""
    try:
        check_names()
        yield
    except AskerError as error:
        fail(str(error), MENDABLE)
    except PasticheError as error:
        log.exception("stopped")
        fail(str(error) if isinstance(error, SetupError) else KIND_SENTENCE, OURS)
    except BrokenPipeError:
        # Nobody reads on (`| head`): not an error, and nothing may be flushed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(STOPPED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception:
        log.exception("stopped")
        fail(f"Something went wrong on our side; what, stands in {_log_place()}.", OURS)


@contextlib.contextmanager
def logged(name: str) -> Iterator[Settings]:
    """Give the settings to a command, which is logged under that name and ends kindly."""
    with faults():
        yield logged_settings(name)


def _log_place() -> str:
    try:
        return str(read_settings().home / "logs")
    except PasticheError:
        return "the logs of the data folder"


def fail(message: str, code: int) -> None:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(code)
