"""An experiment: the decode step captured as a CUDA graph over a fixed number of rows and places.

The products and the attention are the product's own; only what changes from step to step (tokens,
positions, masks) is read from tensors that stay where they are, so that the step can be played again.
"""

import time
from functools import partial
from typing import Any

import torch

from engine.backends.mixing.adapters import AdapterKey
from engine.backends.mixing.attention import Attention
from engine.backends.mixing.decoder import Batch
from tests.benchmarks.gpu.day import Day
from tests.benchmarks.gpu.shapes import EXPERTS
from tests.benchmarks.gpu.text import batch, loads


class Fixed(Attention):
    """Every row's newest token at the positions that stand in a tensor, over `end` places."""

    def __init__(self, cache: Any, rows: int, end: int, at: torch.Tensor) -> None:
        super().__init__(cache, [end - 1] * rows, [])
        self.at = at

    def _all_places(self, device: torch.device) -> torch.Tensor:
        if self._places is None:
            heads = torch.arange(self.cache.heads, device=device)
            rows = torch.arange(len(self.positions), device=device)[:, None]
            first = rows * self.cache.heads + heads
            self._places = (first * self.cache.tokens + self.at[:, None]).flatten()
        return self._places

    def _newest_mask(self, end: int, window: int | None, device: torch.device) -> torch.Tensor:
        window = None if window is None or window >= end else window
        found = self._masks.get((-1, window))
        if found is None:
            there, mine = torch.arange(end, device=device)[None], self.at[:, None]
            hidden = there > mine
            if window is not None:
                hidden = hidden | (there <= mine - window)
            found = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, float("-inf"))
            self._masks[-1, window] = found
        return found[:, None]


class GraphStep:
    """A step of fixed rows with fixed adapters; called with tokens and positions on the device."""

    def __init__(self, mixer: Any, keys: list[AdapterKey], end: int) -> None:
        self.mixer, self.end, self.rows = mixer, end, len(keys)
        device = mixer.decoder.device
        self.ids = torch.full((self.rows,), 5, device=device)
        self.at = torch.full((self.rows,), end // 2, device=device)
        self.mix = mixer._stacks.mix(keys, mixer._adapters)
        self.graph: Any = None
        if device.type == "cuda":
            self._capture()

    def _forward(self) -> torch.Tensor:
        attend = Fixed(self.mixer.cache, self.rows, self.end, self.at)
        rows = list(range(self.rows))
        step = Batch(ids=[0] * self.rows, attend=attend, wanted=rows, mix=self.mix)
        return self.mixer.decoder.forward(self.ids, self.at, step)  # type: ignore[no-any-return]

    def _capture(self) -> None:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._forward()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self._forward()

    def __call__(self, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Logits; they are overwritten by the next call."""
        self.ids.copy_(ids)
        self.at.copy_(at)
        if self.graph is None:
            return self._forward()
        self.graph.replay()
        return self.logits


@torch.inference_mode()
def graphs(day: Day) -> None:
    """The same greedy steps, launched one kernel at a time and played from a graph."""
    mixer, _ = batch(day)
    end, start, steps = (32, 8, 4) if day.tiny else (256, 60, 128)
    mixer.give_up(RuntimeError("the cache is wanted for an experiment"))
    mixer.cache.reserve(max(loads(day)), end)
    for rows in loads(day):
        keys = [AdapterKey(EXPERTS[row % 3]) for row in range(rows)]
        began = time.perf_counter()
        played = GraphStep(mixer, keys, end)
        day.sync()
        day.note(f"{rows} rows: capture", 1000 * (time.perf_counter() - began), "ms")
        plain = Launched(mixer, keys)
        found = {}
        for name, step in (("kernel by kernel", plain), ("as a graph", played)):
            found[name] = chain(step, rows, start, steps)  # warm
            seconds = day.timed(partial(chain, step, rows, start, steps), 2, 0)
            rate = f"{rows * steps / seconds:.0f} tokens/s"
            day.note(f"{rows} rows, {name}: a step", 1000 * seconds / steps, "ms", rate)
        one, other = found.values()
        day.note(f"{rows} rows: tokens that are the same", 100 * _same(one, other), "%")
    day.peak("with graphs")


class Launched:
    """The product's own step, for comparison."""

    def __init__(self, mixer: Any, keys: list[AdapterKey]) -> None:
        self.mixer, self.keys = mixer, keys
        self.mix = mixer._stacks.mix(keys, mixer._adapters)

    def __call__(self, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Logits."""
        attend = Attention(self.mixer.cache, at.tolist(), [])
        rows = list(range(len(self.keys)))
        step = Batch(ids=ids.tolist(), attend=attend, wanted=rows, mix=self.mix)
        return self.mixer.decoder(step)  # type: ignore[no-any-return]


def chain(step: Any, rows: int, start: int, steps: int) -> list[list[int]]:
    """Greedy tokens, each brought to the processor as it would be for its asker."""
    device = step.mixer.decoder.device
    for layer in (*step.mixer.cache.keys, *step.mixer.cache.values):
        layer.zero_()
    ids = torch.arange(5, 5 + rows, device=device)
    at = torch.full((rows,), start, device=device)
    made = []
    for _ in range(steps):
        ids = step(ids, at).argmax(1)
        made.append(ids.tolist())
        at = at + 1
    return made


def _same(one: list[list[int]], other: list[list[int]]) -> float:
    pairs = [a == b for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
    return sum(pairs) / len(pairs)
