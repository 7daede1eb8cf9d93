"""Structured logs: one JSON object a line, no prompt and no secret in it.

Records say what happened to which job; what people typed is never passed to a logger. A filter
takes out whatever looks like a platform token or equals a secret of this process, as a last net.
"""

import json
import logging
import logging.handlers
import os
import re
import sys
from pathlib import Path

MAX_BYTES = 5_000_000
KEPT = 5
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Discord: three dotted base64 parts; Telegram: digits, a colon, 35 characters; OpenAI: sk-...
_TOKENS = re.compile(
    r"[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}|(?<!\d)\d{6,12}:[\w-]{30,}|\bsk-[\w-]{16,}|\bhf_\w{20,}"
)
_SECRET_NAMES = ("TOKEN", "KEY", "SECRET", "PASSWORD")
REDACTED = "[secret]"


class JsonLines(logging.Formatter):
    """time, level, logger, message, the record's extra fields, and a traceback if there is one."""

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
        line |= {k: str(v) for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self._redact(json.dumps(line, ensure_ascii=False))

    def _redact(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return _TOKENS.sub(REDACTED, line)


def start_logs(home: Path, name: str, level: str) -> None:
    """Log to home/logs/<name>.jsonl, rotated; to stderr when that cannot be written."""
    handler: logging.Handler
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = home / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        handler = logging.handlers.RotatingFileHandler(
            folder / f"{name}.jsonl", maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8"
        )
    except OSError:
        handler = logging.StreamHandler(sys.stderr)
        level = "ERROR"
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # aiosqlite writes every statement, with its values, at DEBUG
    for noisy in ("aiosqlite", "asyncio", "urllib3", "httpx", "httpcore", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
