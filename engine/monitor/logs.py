"""Structured logs: one JSON object a line, no prompt and no secret in it.

Records say what happened to which job; what people typed is never passed to a logger. A filter
takes out whatever looks like a platform token or equals a secret of this process, as a last net.
"""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import sys
from io import TextIOWrapper
from pathlib import Path

from engine.files import owner_only

MAX_BYTES = 5_000_000
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Discord: three dotted base64 parts; Telegram: digits, a colon, 35 characters; OpenAI: sk-...
_TOKENS = re.compile(
    r"[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}|(?<!\d)\d{6,12}:[\w-]{30,}|\bsk-[\w-]{16,}|\bhf_\w{20,}"
    r"|(?<=://)[^\s/@:]{0,64}:[^\s/@]{1,256}(?=@)"  # who and with which password, in an address
)
_SECRET_NAMES = ("TOKEN", "KEY", "SECRET", "PASSWORD")
REDACTED = "[secret]"
# aiosqlite writes every statement with its values at DEBUG, openai every prompt
NOISY = (
    "aiosqlite", "asyncio", "urllib3", "httpx", "httpcore", "httpx2", "httpcore2", "openai",
    "filelock", "alembic",
)  # fmt: skip


class JsonLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        names = (n for n in os.environ if n.endswith(_SECRET_NAMES))
        self._secrets = [v for n in names if len(v := os.environ[n]) >= 8]

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= self.extras(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({k: self.redact(v) for k, v in line.items()}, ensure_ascii=False)

    @staticmethod
    def extras(record: logging.LogRecord) -> dict[str, str]:
        return {k: str(v) for k, v in vars(record).items() if k not in _STANDARD}

    def redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return _TOKENS.sub(REDACTED, text)


def start_logs(home: Path, name: str, level: str, to: str = "file") -> None:
    """Log to home/logs/<name>.jsonl, which several processes may share (nowhere if it cannot be), or to
    "stdout". A file beyond MAX_BYTES is put aside as .old when the next process starts."""
    logging.raiseExceptions = False  # a full disk must not print a traceback for every record
    handler = logging.StreamHandler(sys.stdout) if to == "stdout" else _file_handler(home, name)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _PrivateFile(logging.handlers.WatchedFileHandler):
    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=owner_only)


def _file_handler(home: Path, name: str) -> logging.Handler:
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / "logs" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if path.exists() and path.stat().st_size > MAX_BYTES:
            path.replace(path.with_suffix(".old"))
        return _PrivateFile(path, encoding="utf-8")
    return logging.NullHandler()
