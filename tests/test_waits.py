"""Every wait for something outside has a limit, and what happens then is said."""

import ast
import asyncio
import gc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from fleet import Cable

from engine.errors import OwnerGoneError
from engine.ledger.postgres_connection import Limited
from engine.process.client import ClientEngine
from engine.settings import make_runtime

HOUSE = Path(__file__).parents[1]


class Impatient(Limited):
    limit = 0.3


async def test_a_server_that_answers_no_more_is_an_error_in_time(postgres_server) -> None:
    name = postgres_server.create()
    with closing(Cable(postgres_server.port)) as cable:
        words = postgres_server.conninfo(name).replace(str(postgres_server.port), str(cable.port))
        connection = await Impatient.connect(words, autocommit=True)
        await connection.execute("SELECT 1")
        cable.freeze()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(connection.execute("SELECT 1"), 20)
        assert connection.closed
        await connection.close()


async def test_a_long_rest_between_notes_is_no_fault(postgres_server) -> None:
    async with await Impatient.connect(
        postgres_server.conninfo("postgres"), autocommit=True
    ) as connection:
        assert [note async for note in connection.notifies(timeout=0.6)] == []
        await connection.execute("SELECT 1")


async def test_an_owner_that_stands_still_counts_as_gone(settings, registry) -> None:
    make_runtime(settings)
    server = await asyncio.start_unix_server(lambda _r, _w: None, str(settings.socket))
    async with server:
        asked = ClientEngine(settings, registry, patience=0.1).follow("01J")
        with pytest.raises(OwnerGoneError):
            await asyncio.wait_for(anext(asked), 20)


def keyword(call: ast.Call, name: str) -> bool:
    return any(word.arg in (name, None) for word in call.keywords)


RULES: dict[str, tuple[tuple[str, ...], Callable[[ast.Call], bool]]] = {
    "give it a timeout": (
        ("run", "check_call", "check_output", "get", "post", "request", "OpenAI", "AsyncOpenAI"),
        lambda call: keyword(call, "timeout"),
    ),
    "use LOCK_NB, and look again": (("flock",), lambda call: "LOCK_NB" in ast.unparse(call)),
    "connect by engine.ledger.postgres_connection": (("connect",), lambda _call: False),
}
OWNERS = ("subprocess", "requests", "session", "openai", "fcntl", "psycopg", "AsyncConnection")


def faults(path: Path) -> list[str]:
    found: list[str] = []
    words = path.read_text()
    if not any(f"{owner}." in words for owner in OWNERS):
        return found
    for call in ast.walk(ast.parse(words)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if ast.unparse(call.func.value).rpartition(".")[2] not in OWNERS:
            continue
        for advice, (names, limited) in RULES.items():
            if call.func.attr in names and not limited(call):
                found.append(f"{path.relative_to(HOUSE)}:{call.lineno}: {advice}")
    return found


def test_no_call_to_something_outside_waits_for_ever() -> None:
    gc.collect()  # a traceback that is logged while Python 3.11 parses would break the parsing
    paths = [p for name in ("bot", "engine", "training") for p in (HOUSE / name).rglob("*.py")]
    assert [fault for path in paths for fault in faults(path)] == []
