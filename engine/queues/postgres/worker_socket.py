"""The Unix socket where the workers of one process connect, in the private runtime folder."""

import asyncio
import logging
import socket
from contextlib import suppress
from pathlib import Path

from engine.errors import PasticheError
from engine.queues.dispatcher import Dispatcher
from engine.settings import Settings, make_runtime
from engine.shutdown import end
from engine.workers.protocol import MAX_LINE, Hello, Link

log = logging.getLogger(__name__)


class WorkerSocket:
    """Hands whoever says Hello to the dispatcher."""

    def __init__(self, settings: Settings, worker_host: str, dispatcher: Dispatcher) -> None:
        self.path = settings.runtime / f"s-{worker_host[-10:].lower()}.sock"
        self._settings = settings
        self._dispatcher = dispatcher
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; clear away the sockets of processes that were killed."""
        make_runtime(self._settings)
        for path in self._settings.runtime.glob("s-*.sock"):
            _clear(path)
        self._server = await asyncio.start_unix_server(self._enter, str(self.path), limit=MAX_LINE)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(Link(reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, link: Link) -> None:
        try:
            first = await link.receive()
            if isinstance(first, Hello):
                await self._dispatcher.serve(first, link)
        except (PasticheError, ConnectionError):
            log.exception("a worker's connection failed")
        finally:
            await link.close()

    async def close(self) -> None:
        """Let nobody in any more, and everybody go."""
        if self._server is not None:
            self._server.close()
        await end(*self._connections)
        with suppress(FileNotFoundError):
            self.path.unlink()


def _clear(path: Path) -> None:
    """Delete a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            pass  # somebody's who is busy, or gone already
