"""What a database's own complaint means for the operator, without anything that people typed."""

import re

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError

STATES = {
    "53100": "has no room left on its disk. Free some; nothing was lost",
    "53200": "has no memory left",
    "53300": "has no connection left. Raise max_connections, or stop what else uses it",
    "25006": "can only be read now (a replica?). Name the primary in PASTICHE_DATABASE_URL",
    "42501": "does not allow this role to do that. Make it the owner of the database",
    "42P01": "has not all our tables. Run: pastiche db upgrade",
    "42703": "has not all our columns. Run: pastiche db upgrade",
    "55P03": "is too busy: somebody holds what we need for too long. Try again; before an upgrade, "
    "stop the bots and workers",
    "57014": "took too long over a statement, and has undone it. Try again",
    "57P01": "was stopped. It is used again as soon as it is back",
    "57P02": "has crashed. It is used again as soon as it is back",
    "57P03": "is starting or stopping. Try again in a moment",
}
# A server's refusal to connect comes as words only; these are libpq's and the server's English ones.
REFUSALS = (
    (r"password authentication failed|no password supplied",
     "did not take the user or password. Mend them in PASTICHE_DATABASE_URL (special characters "
     "are written as %40 and the like)"),
    (r"no pg_hba\.conf entry|role .{1,99} does not exist|not permitted to log in",
     "does not let this user in. Make the role, or add a line to the server's pg_hba.conf"),
    (r"database .{1,99} does not exist",
     "has no such database. Make it: CREATE DATABASE pastiche ENCODING 'UTF8' TEMPLATE template0"),
    (r"too many clients|connection slots|too many connections", STATES["53300"]),
    (r"starting up|shutting down|recovery mode|not yet accepting", STATES["57P03"]),
    (r"certificate|SSL|TLS",
     "and we do not agree on encryption. Look at sslmode and sslrootcert in PASTICHE_DATABASE_URL"),
    (r"translate host name|Name or service not known|resolve|nodename nor servname",
     "is not a known name. Look at the host in PASTICHE_DATABASE_URL"),
    (r"Connection refused|No such file|No route|unreachable|timeout|timed out|terminat|closed",
     "does not answer. Start the server, or mend host and port in PASTICHE_DATABASE_URL"),
)  # fmt: skip
UNDONE = {"40001", "40P01", "23503", "23505"}  # another process was faster: try the whole again


def sqlstate_of(error: BaseException) -> str:
    """Give PostgreSQL's five characters, or nothing."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def explain(error: Exception, name: str, password: object = None) -> str:
    if isinstance(error, NoConnectionError):
        return f"{name} is too busy: all our connections are in use. Try again."
    state = sqlstate_of(error)
    if state:
        what = STATES.get(state) or f"refused: {reason(error)}"
        return f"{name} {what}."
    words = str(getattr(error, "orig", None) or error)
    for pattern, what in REFUSALS:
        if re.search(pattern, words, re.IGNORECASE):
            return f"{name} {what}."
    return f"{name} cannot be used: {redacted(reason(error), password)}"


def reason(error: Exception) -> str:
    """Give the driver's own first words, without the statement, its values, or a row's content."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, SQLAlchemyError):
        return type(original).__name__
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    return str(primary or original).strip()


def redacted(words: str, password: object) -> str:
    return words.replace(str(password), "***") if password else words
