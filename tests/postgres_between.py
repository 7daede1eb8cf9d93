"""What may stand between us and a PostgreSQL server: a pool that shares sessions, an older server.

Both speak just enough of the protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
IDLE = b"I"  # ReadyForQuery outside a transaction


async def message(reader: asyncio.StreamReader) -> bytes:
    """The next message, its head included."""
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


class Between:
    """Passes the log-in through, with each of the server's messages changed by `change`."""

    def __init__(self, server: int, change: Callable[[bytes], bytes]) -> None:
        self._server = server
        self._change = change

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        upstream = await asyncio.open_connection("127.0.0.1", self._server)
        try:
            upstream[1].write(await _greeting(reader, writer))
            await self._log_in((reader, writer), upstream)
            await self._talk((reader, writer), upstream)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            ends = (writer, upstream[1])
            for end in ends:
                end.close()
            for end in ends:  # a cancel ends this wait, and both are closed by then
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    async def _log_in(self, client: Streams, server: Streams) -> None:
        """Until the server says that it is ready."""
        while True:
            said = await message(server[0])
            client[1].write(self._change(said))
            match said[:1], said[5:9]:
                case b"Z", _:
                    return
                case b"R", b"\0\0\0\0" | b"\0\0\0\x0c":
                    pass
                case b"R", _:
                    server[1].write(await message(client[0]))

    async def _talk(self, client: Streams, server: Streams) -> None:
        """One round after the other: what the client says, what the server answers."""
        while True:
            await self._round(client, server)

    async def _round(self, client: Streams, server: Streams, said: bytes = b"") -> bytes:
        """Until the server is ready again; the state of its transaction."""
        while said[:1] not in (b"Q", b"S"):
            if said:
                server[1].write(said)
            said = await _wish(client)
        server[1].write(said)
        while True:
            said = await message(server[0])
            client[1].write(self._change(said))
            if said[:1] == b"Z":
                return said[5:6]


class TransactionPool(Between):
    """Every transaction of every client runs in the first session; backend numbers are made up."""

    def __init__(self, server: int) -> None:
        super().__init__(server, _another_number)
        self._turn = asyncio.Lock()
        self._shared: Streams | None = None

    async def _talk(self, client: Streams, server: Streams) -> None:
        if self._shared is None or self._shared[1].is_closing():
            self._shared = server
        while True:
            first = await _wish(client)
            async with self._turn:
                state = await self._round(client, self._shared, first)
                while state != IDLE:
                    state = await self._round(client, self._shared)


async def _greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The client's first real message; a wish for encryption is declined."""
    while True:
        length = await reader.readexactly(4)
        said = length + await reader.readexactly(int.from_bytes(length) - 4)
        if len(said) != 8:
            return said
        writer.write(b"N")


async def _wish(client: Streams) -> bytes:
    """The client's next message. Raises ConnectionResetError for its good-bye."""
    said = await message(client[0])
    if said[:1] == b"X":
        raise ConnectionResetError
    return said


def _another_number(said: bytes) -> bytes:
    """BackendKeyData of the pool's own making."""
    return said[:5] + b"\0\x7f\x7f\x7f" + said[9:] if said[:1] == b"K" else said


def older(said: bytes) -> bytes:
    """The server's version, but 13."""
    name = b"server_version\0"
    if said[:1] != b"S" or name not in said:
        return said
    at = said.index(name) + len(name)
    return said[:at] + b"13" + said[at + 2 :]


@contextmanager
def standing(between: Between) -> Iterator[int]:
    """It listens in a thread of its own, for those who connect without an event loop: its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(between.serve, "127.0.0.1", 0)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
