"""Stories from a vLLM of our own: a child (vllm_server), asked by our client for text servers.

What it cannot serve our own engine writes, in this process. The cards are read again while it runs: the
adapter of a new one is loaded, that of a removed one let go, and vLLM goes on meanwhile.
"""

import asyncio
import logging
import os
import secrets
import shlex
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from pydantic import SecretStr

from engine.backends.job_channel import stopped
from engine.backends.text import TextBackend
from engine.backends.text_server.backend import OpenAIBackend
from engine.backends.text_server.retry import Answer, Patience, TryAgain
from engine.backends.text_server.vllm_plan import VllmPlan, make_plan, on_cuda
from engine.backends.text_server.vllm_server import Limits, VllmServer
from engine.errors import ModelError, SetupError
from engine.events import Event
from engine.plan.cards import Registry, load_registry
from engine.plan.job import Job
from engine.settings import Settings, make_runtime
from engine.shutdown import end, wanted

LEARN_SECONDS = 15.0  # between two readings of the cards
# Of a card's sampling what vLLM does not know, and when that is off.
UNKNOWN = {
    "dry_multiplier": 0.0, "xtc_probability": 0.0, "top_n_sigma": 0.0, "repetition_penalty": 1.0,
    "end_gain": 0.0,
}  # fmt: skip

log = logging.getLogger(__name__)


class VllmBackend(OpenAIBackend):
    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        patience: Patience | None = None,
        limits: Limits | None = None,
    ) -> None:
        socket = settings.runtime / f"s-{os.getpid()}-vllm.sock"
        key = secrets.token_urlsafe(32)
        own = {"text_server": f"unix:{socket}", "text_server_key": SecretStr(key)}
        super().__init__(settings.model_copy(update=own), registry, patience)
        self._server = VllmServer(
            command=self._command,
            healthy=self._healthy,
            socket=socket,
            key=key,
            errors=settings.home / "logs" / "vllm.err",
            limits=limits or Limits(),
        )
        self._plan: VllmPlan | None = None
        self._refused: set[str] = set()  # adapters that vLLM did not take
        self._learning = asyncio.Lock()
        self._follow: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._others: TextBackend | None = None

    async def load(self) -> None:
        make_runtime(self._settings)
        self._connect()
        try:
            await self._server.start()
            await self.learn()
        except BaseException:
            await self.close()
            raise
        self._follow = asyncio.create_task(self._follow_cards(), name="vLLM's adapters")

    async def close(self) -> None:
        await end(self._follow)
        await self._server.close()
        await super().close()

    def _command(self) -> list[str]:
        self._plan = self._planned(self._registry)
        words = shlex.split(self._settings.vllm_options)
        return self._plan.command(*words, but=self._refused)  # with which it would not start

    def _planned(self, registry: Registry) -> VllmPlan:
        """Plan, and tell what vLLM does not serve, or not as our own engine does."""
        plan = make_plan(registry, self._settings.models, self._plan.base if self._plan else "")
        drawn = [registry[name].sampling for name in plan.experts]
        lost = [key for key, off in UNKNOWN.items() if any(getattr(s, key) != off for s in drawn)]
        log.warning("what vLLM leaves out", extra={"sampling": lost, "experts": plan.left})
        return plan

    async def learn(self) -> None:
        """Read the cards, and bring what vLLM serves to what they say. Raises ModelError, SetupError."""
        async with self._learning:
            settings, plan = self._settings, self._plan
            cards = settings.expert_roots, settings.profile
            registry = await asyncio.to_thread(load_registry, *cards)
            if plan is None or registry.experts != self._registry.experts:
                plan = await asyncio.to_thread(self._planned, registry)
                self._others = None
            told = await self._page("v1/models")
            served = {model["id"] for model in told["data"]} if told else set()
            if plan.base not in served:
                raise ModelError(f"vLLM does not serve {plan.base}, with which it was started.")
            for name in plan.adapters.keys() - served - self._refused:
                path = str(plan.adapters[name])
                done = await self._page("v1/load_lora_adapter", lora_name=name, lora_path=path)
                (self._refused if done is None else served).add(name)
                log.info("an adapter for vLLM", extra={"adapter": name, "taken": done is not None})
            self._registry, self._plan = registry, plan
            self._models = {e: own.name for e, own in plan.experts.items() if own.name in served}
            self._bases = dict.fromkeys(self._models, plan.base)
            for name in served - plan.adapters.keys() - {plan.base}:
                await self._page("v1/unload_lora_adapter", lora_name=name)

    async def _follow_cards(self) -> None:
        while wanted():
            await asyncio.sleep(LEARN_SECONDS)
            if self._server.up.is_set():
                with suppress(ModelError, SetupError, OSError):  # a card is just being written
                    await self.learn()

    async def _healthy(self) -> bool:
        return await self._page("health") is not None

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        if self._registry.named(job.expert) is None:
            await self.learn()
        if job.expert in self._models and not await self._leaks(job):
            writing = super().generate(job, stop)
        else:
            self._others = self._others or TextBackend(self._settings, self._registry)
            writing = self._others.generate(job, stop)
        async with aclosing(writing) as events:
            async for event in events:
                yield event

    async def _leaks(self, job: Job) -> bool:
        """Tell whether adapters may write along: on a processor vLLM takes a row without one for a row
        with the last, if both stand in one batch (vllm #48421)."""
        assert self._plan is not None
        bare = job.plain or self._plan.experts[job.expert].folder is None
        return bare and bool(self._plan.adapters) and not await asyncio.to_thread(on_cuda)

    async def _ready(self, stop: threading.Event) -> None:
        until = time.monotonic() + self._server.limits.start
        while not (self._server.up.is_set() or await stopped(stop, self._server.limits.look)):
            if time.monotonic() > until:
                raise ModelError(f"vLLM does not come up again. See {self._server.errors}")

    def _hear(self, model: str, answer: Answer, chunk: Any) -> Event | None:
        self._heard = time.monotonic()
        return super()._hear(model, answer, chunk)

    def _failed(self, fault: TryAgain) -> None:
        """Ask no more before it was looked at; doubt it where no stream has heard of it for long."""
        self._server.up.clear()
        silent = time.monotonic() - self._heard > self._patience.silence
        self._server.doubted = self._server.doubted or (silent and "Timeout" in str(fault))

    def _adapter(self, job: Job, model: str) -> str:
        assert self._plan is not None
        return f"server:{model}" if model in self._plan.adapters and not job.plain else ""
