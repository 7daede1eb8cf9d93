"""vLLM as a child: started, watched, and started again when it has died or fallen silent."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.backends.text_server.process_guard import GRACE_SECONDS
from engine.environment import inherited
from engine.errors import ModelError
from engine.files import open_log
from engine.shutdown import end, wanted

GUARD = Path(__file__).with_name("process_guard.py")
LEAVE_SECONDS = GRACE_SECONDS + 4
TELL_SECONDS = 15  # between two words while it starts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Set limits in seconds: to come up (weights are read, kernels compiled), between two looks, of
    silence; and the pause before it is started again, which doubles unless it was up for the longest."""

    start: float = 900.0
    look: float = 1.0
    silence: float = 30.0
    pause: float = 1.0
    longest_pause: float = 60.0


@dataclass(slots=True, eq=False)
class VllmServer:
    """`up` is set while it answers; who finds that it does not clears it, until the next look. Who sets
    `doubted` has it started again."""

    command: Callable[[], list[str]]
    healthy: Callable[[], Awaitable[bool]]
    socket: Path
    key: str
    errors: Path
    limits: Limits
    up: asyncio.Event = field(default_factory=asyncio.Event)
    doubted: bool = False
    _task: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Return once it answers. Raises ModelError if it does not."""
        self._task = asyncio.create_task(self._keep(), name="vLLM")
        up = asyncio.create_task(self.up.wait())
        await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        await end(up)
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        await end(self._task, courtesy=LEAVE_SECONDS)

    async def _keep(self) -> None:
        failed, served = 0, False
        while wanted():
            try:
                lasted, why = await self._run()
            except (ModelError, OSError) as error:
                lasted, why = 0.0, str(error)
            served = served or lasted > 0
            if not served:
                raise ModelError(f"vLLM did not start: {why}. See {self.errors}")
            failed = 0 if lasted > self.limits.longest_pause else min(failed + 1, 10)
            pause = min(self.limits.longest_pause, self.limits.pause * 2.0**failed)
            log.error("vLLM is started again", extra={"reason": why, "pause": pause})
            await asyncio.sleep(pause)

    async def _run(self) -> tuple[float, str]:
        """Run it once; tells how long it was up, and why it ended or had to."""
        process = await asyncio.to_thread(self._spawn)
        began = heard = told = time.monotonic()
        since, limits = 0.0, self.limits
        try:
            while (code := process.poll()) is None and not self.doubted:
                now = time.monotonic()
                if await self.healthy():
                    if not since:
                        log.info("vLLM is up", extra={"seconds": round(now - began)})
                    heard, since = now, since or now
                    if not self.doubted:
                        self.up.set()
                elif now > told + TELL_SECONDS:
                    log.info("vLLM does not answer yet", extra={"seconds": round(now - began)})
                    told = now
                if now > heard + (limits.silence if since else limits.start):
                    break
                await asyncio.sleep(limits.look)
            why = "it hangs" if code is None else f"it ended with code {code}"
            return (time.monotonic() - since if since else 0.0), why
        finally:
            self.up.clear()
            self.doubted = False
            assert process.stdin is not None
            process.stdin.close()  # its guard ends it, whatever becomes of this process
            until = time.monotonic() + LEAVE_SECONDS
            while process.poll() is None and time.monotonic() < until:
                await asyncio.sleep(min(0.1, limits.look))

    def _spawn(self) -> "subprocess.Popen[bytes]":
        """Start it without our tokens, and without what our Python goes by."""
        kept = {n: v for n, v in inherited().items() if not n.startswith(("PYTHON", "HF_TOKEN"))}
        own = {
            "VLLM_API_KEY": self.key,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_LOGGING_LEVEL": "WARNING",  # below that some versions log prompts
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        with open_log(self.errors) as errors:
            return subprocess.Popen(
                [sys.executable, "-I", GUARD, self.socket, *self.command(), "--uds", self.socket],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env=kept | own,
                start_new_session=True,
            )
