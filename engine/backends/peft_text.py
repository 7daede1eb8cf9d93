"""Stories one after the other, on transformers' and PEFT's own code: for what cannot be mixed.

An architecture or a kind of adapter that the mixing engine does not know is served here; each request
meets exactly its own adapter, none is ever merged. Jobs run in one thread of their own, so that the
worker's loop stays free.
"""

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from engine.backends.model_loading import Loaded, load_base, resolve_for
from engine.backends.prompt_window import prompt_ids
from engine.backends.stop_rules import NO_END, finish, latest, legible, settled, should_stop
from engine.errors import ModelError
from engine.events import Cancelled, Event, Finished, Loading, Started, Text
from engine.plan.cards import Expert, Registry, Weights
from engine.plan.job import Job
from engine.settings import Settings
from engine.weights.adapter_config import read_config

RESIDENT_BASES = 2  # merged full models are bases too; the one unused for longest goes

Emit = Callable[[Event], None]


class PeftTextBackend:
    """Write by transformers and PEFT; repeatable by seed on one machine with one number of threads."""

    slots = 1

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._bases: OrderedDict[str, Loaded] = OrderedDict()
        self._places: dict[tuple[str, bool], tuple[Weights, Path | None]] = {}  # expert, plain
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")

    async def load(self) -> None:
        """Load the first text expert's base and adapter; the others come when they are asked for."""
        experts = [e for e in self._registry.experts if e.medium == "text"]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._warm, experts)

    def _warm(self, experts: list[Expert]) -> None:
        import torch

        torch.set_num_threads(self._settings.threads or max(1, (os.cpu_count() or 2) // 2))
        if experts:
            self._loaded(experts[0], plain=False)

    def take(self, base: str, loaded: Loaded) -> None:
        """Serve a base that is loaded already."""
        self._bases[base] = loaded

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Event | None] = asyncio.Queue()

        def emit(event: Event | None) -> None:
            loop.call_soon_threadsafe(inbox.put_nowait, event)

        done = loop.run_in_executor(self._thread, self._generate, job, stop, emit)
        done.add_done_callback(lambda _done: inbox.put_nowait(None))
        while (event := await inbox.get()) is not None:
            yield event
        await done  # raises what the thread raised

    def _loaded(self, expert: Expert, *, plain: bool) -> Loaded:
        """Give the expert's base, with its adapter unless `plain`, from memory or from disk."""
        place = (expert.name, plain)
        if place not in self._places:
            self._places[place] = resolve_for(self._registry.weights(expert), plain=plain)
        weights, adapter = self._places[place]
        key = weights.base
        if adapter is not None and read_config(expert.name, adapter).alone:
            key = f"{weights.base} of {expert.name} alone"
        loaded = self._bases.get(key)
        if loaded is None or loaded.spoilt:
            self._bases.pop(key, None)
            while len(self._bases) >= RESIDENT_BASES:
                self._bases.popitem(last=False)
            loaded = self._bases[key] = load_base(
                weights.base, self._settings.models, self._settings.precision
            )
        self._bases.move_to_end(key)
        if adapter is not None and expert.name not in loaded.adapters:
            loaded.adopt(expert.name, adapter, weights.digest)
        return loaded

    def _generate(self, job: Job, stop: threading.Event, emit: Emit) -> None:
        expert = self._registry.named(job.expert)
        if expert is None:
            raise ModelError(f"This worker has no expert {job.expert!r}; restart it.")
        emit(Loading(job=job.id, attempt=job.attempt, what=f"getting {expert.title} ready"))
        loaded = self._loaded(expert, plain=job.plain)
        if stop.is_set():
            emit(Cancelled(job=job.id, attempt=job.attempt))
            return
        emit(Started(job=job.id, attempt=job.attempt))
        weights, adapter = self._places[expert.name, job.plain]
        merged = loaded.digest if weights.adapter and adapter is None else ""
        if merged and weights.digest not in ("", merged):
            raise ModelError(f"The model of {expert.name} is not the one on its card. Add it anew.")
        _Run(job, loaded, merged, stop, emit).run()


class _Run:
    """One generation; called by transformers after every token."""

    def __init__(
        self, job: Job, loaded: Loaded, merged: str, stop: threading.Event, emit: Emit
    ) -> None:
        self._job = job
        self._loaded = loaded
        self._adapter = "" if job.plain or job.expert not in loaded.adapters else job.expert
        self._merged = merged  # the digest of a merged model in an adapter's place
        self._stop = stop
        self._emit = emit
        self._began = time.monotonic()
        self._first = 0.0
        self._tokens = 0
        self._text = ""
        self._ids: list[int] = []
        self._prompt_tokens = 0

    def run(self) -> None:
        import torch
        from transformers import GenerationConfig

        job, loaded = self._job, self._loaded
        ids, notes = prompt_ids(job, loaded.tokenizer, loaded.window)
        self._prompt_tokens = len(ids)
        tokens = torch.tensor([ids], device=loaded.model.device)
        torch.manual_seed(job.seed)
        with self._wearing(), torch.inference_mode():
            loaded.model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=GenerationConfig(**self._options()),
                stopping_criteria=[self],
            )
        if self._stop.is_set():
            text = self._text.strip()
            self._emit(
                Cancelled(job=job.id, attempt=job.attempt, text=text, tokens_out=self._tokens)
            )
        else:
            self._emit(self._finished(notes))

    def _wearing(self) -> Any:
        """Let exactly the expert's own adapter act, or none."""
        model = self._loaded.model
        if self._adapter:
            model.set_adapter(self._adapter, inference_mode=True)
            return nullcontext()
        return model.disable_adapter() if self._loaded.adapters else nullcontext()

    def _options(self) -> dict[str, Any]:
        sampling, length = self._job.sampling, self._job.length
        config, tokenizer = self._loaded.model.generation_config, self._loaded.tokenizer
        ends = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
        draw: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            draw = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p or None,
            }
        return draw | {
            "cache_implementation": None if self._loaded.cache == "dynamic" else self._loaded.cache,
            "repetition_penalty": sampling.repetition_penalty,
            "max_new_tokens": latest(length),
            "min_new_tokens": int(length * NO_END),
            "eos_token_id": ends,
            "pad_token_id": tokenizer.pad_token_id or 0,
        }

    def __call__(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
        """Show the newest token, and tell whether the answer ends."""
        import torch

        self._ids.append(int(input_ids[0, -1]))
        ends = self._stop.is_set() or self._show()
        return torch.tensor([ends], device=input_ids.device)

    def _show(self) -> bool:
        job = self._job
        self._tokens += 1
        self._first = self._first or time.monotonic() - self._began
        text = self._loaded.tokenizer.decode(self._ids, skip_special_tokens=True)
        self._text = legible(text)
        if should_stop(self._text, self._tokens, job.length):
            return True
        shown = settled(self._text)
        self._emit(Text(job=job.id, attempt=job.attempt, text=shown, tokens=self._tokens))
        return False

    def _finished(self, notes: tuple[str, ...]) -> Finished:
        job, loaded = self._job, self._loaded
        return Finished(
            job=job.id,
            attempt=job.attempt,
            text=finish(self._text, self._tokens, job.length),
            tokens_in=self._prompt_tokens,
            tokens_out=self._tokens,
            first_token_seconds=self._first,
            seconds=time.monotonic() - self._began,
            base_digest=loaded.digest,
            adapter_digest=loaded.adapters.get(self._adapter, self._merged),
            notes=notes,
        )
