"""Stories one after the other, on transformers' and PEFT's own code: for a base or a kind of adapter
that the mixing engine does not know. Each request meets exactly its own adapter, none is ever merged."""

import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from engine.backends.job_channel import JobChannel
from engine.backends.model_loading import (
    RESIDENT_BASES,
    ExpertFiles,
    Loaded,
    end_tokens,
    expert_of,
    load_base,
)
from engine.backends.prompt_window import prompt_ids
from engine.backends.row_sampler import RowSampler
from engine.backends.stop_rules import latest
from engine.backends.text_answer import TextAnswer
from engine.events import Cancelled, Event
from engine.plan.cards import Expert, Registry
from engine.plan.job import Job
from engine.settings import Settings
from engine.weights.adapter_config import read_config
from engine.weights.bases import fetch, find_base


class PeftTextBackend:
    """Write by transformers and PEFT; repeatable by seed on one machine with one number of threads."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._files = ExpertFiles(registry)
        self._bases: OrderedDict[str, Loaded] = OrderedDict()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")

    def take(self, base: str, load: Callable[[], Loaded]) -> Loaded:
        while len(self._bases) >= RESIDENT_BASES:
            self._bases.popitem(last=False)
        loaded = self._bases[base] = load()  # the others have made room first
        return loaded

    def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        channel = JobChannel(job, stop)
        return channel.events(self._thread, partial(self._write, channel), alone=True)

    def _loaded(self, expert: Expert, *, plain: bool) -> Loaded:
        """Give the expert's base, with its adapter unless `plain`, from memory or from disk."""
        weights, adapter = self._files.of(expert, plain=plain)
        key = weights.base
        if adapter is not None and read_config(expert.name, adapter).alone:
            key = f"{weights.base} of {expert.name} alone"
        loaded = self._bases.get(key)
        if loaded is None or loaded.spoilt:
            self._bases.pop(key, None)
            fetch(find_base(weights.base, self._settings.models))  # or the others stay
            loaded = self.take(key, partial(load_base, weights.base, self._settings.models))
        self._bases.move_to_end(key)
        if adapter is not None and expert.name not in loaded.adapters:
            loaded.adopt(expert.name, adapter, weights.digest)
        return loaded

    def _write(self, channel: JobChannel) -> None:
        job, expert = channel.job, expert_of(self._files.registry, channel.job)
        channel.send_loading(expert.title)
        if channel.stopped():
            channel.send(Cancelled(job=job.id, attempt=job.attempt))
            return
        loaded = self._loaded(expert, plain=job.plain)
        merged = self._files.merged(expert, loaded.digest, plain=job.plain)
        _Generation(channel, loaded, expert.bans, merged).run()


class _Generation:
    """Generate one text; transformers calls it after every token. `merged` is the digest of a merged
    model in an adapter's place."""

    def __init__(
        self, channel: JobChannel, loaded: Loaded, bans: Sequence[str], merged: str
    ) -> None:
        job = channel.job
        self._channel = channel
        self._job = job
        self._loaded = loaded
        self._adapter = "" if job.plain or job.expert not in loaded.adapters else job.expert
        self._digest = loaded.adapters.get(self._adapter, merged)
        self._bans = bans
        self._ids: list[int] = []
        self._answer = TextAnswer(job)

    def run(self) -> None:
        import torch
        from transformers import GenerationConfig

        from engine.backends.mixing.sampler import ChosenTokens

        job, loaded, answer = self._job, self._loaded, self._answer
        self._channel.send(answer.start())
        ids, answer.notes = prompt_ids(job, loaded.tokenizer, loaded.window)
        tokens = torch.tensor([ids], device=loaded.model.device)
        ends = end_tokens(loaded.model, loaded.tokenizer)
        row = RowSampler(job, loaded.tokenizer, ends, self._bans)
        chosen = ChosenTokens([row], [len(ids)], lambda _said: answer.text)
        with self._wearing(), torch.inference_mode():
            loaded.model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=GenerationConfig(
                    do_sample=False,  # what is drawn is drawn by `chosen`
                    cache_implementation=None if loaded.cache == "dynamic" else loaded.cache,
                    max_new_tokens=latest(job.length),
                    eos_token_id=list(ends) or None,
                    pad_token_id=loaded.tokenizer.pad_token_id or 0,
                ),
                logits_processor=[chosen],
                stopping_criteria=[self],
            )
        if self._channel.stopped():
            self._channel.send(answer.cancelled())
        else:
            self._channel.send(answer.finished(len(ids), loaded.digest, self._digest))

    def _wearing(self) -> AbstractContextManager[object]:
        """Let exactly the expert's own adapter act, or none."""
        model = self._loaded.model
        if self._adapter:
            model.set_adapter(f"expert {self._adapter}", inference_mode=True)
            return nullcontext()
        return model.disable_adapter() if self._loaded.adapters else nullcontext()

    def __call__(self, input_ids: Any, _scores: Any, **_options: Any) -> Any:
        """Show the newest token, and tell whether the answer ends."""
        import torch

        self._ids.append(int(input_ids[0, -1]))
        ends = self._channel.stopped() or self._show()
        return torch.tensor([ends], device=input_ids.device)

    def _show(self) -> bool:
        text = self._loaded.tokenizer.decode(self._ids, skip_special_tokens=True)
        self._answer.grow(text, len(self._ids))
        if not self._answer.complete:
            self._channel.send(self._answer.shown())
        return self._answer.complete
