"""The decode step in fixed shapes, played from a CUDA graph: one launch instead of a thousand kernels.

Rows and places are rounded up to buckets. What changes from step to step (tokens, positions, whose
adapter) stands in one tensor that is overwritten before each replay. Rows that fill a bucket up may
belong to prompts that are being read: they write at their row's last place, which no sequence uses,
since its last token is never read. Without CUDA the same step is computed kernel by kernel.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.backends.memory import free_bytes
from engine.backends.mixing.adapters import BARE, Adapter, AdapterKey
from engine.backends.mixing.attention import Attention
from engine.backends.mixing.decoder import Batch, Decoder
from engine.backends.mixing.kv_cache import KVCache, bucket
from engine.backends.mixing.multi_lora import Mix, Stack, Stacks
from engine.backends.mixing.sequence import TextSequence

LEAST_END = 256  # places that the shortest graph looks at; the next ones are twice as long
MOST_GRAPHS = 16  # each keeps its own logits
ROOM = 1 << 30  # bytes that a capture leaves free
WARM_UPS = 2  # steps before a capture, in which libraries set themselves up

log = logging.getLogger(__name__)


class FixedAttention(Attention):
    """Attend from every row's newest token at the positions in a tensor, over `end` places."""

    def __init__(self, cache: KVCache, end: int, at: torch.Tensor) -> None:
        super().__init__(cache, [end - 1] * len(at), [])
        self._at = at

    def _all_places(self, device: torch.device) -> torch.Tensor:
        if self._places is None:
            heads = torch.arange(self.cache.heads, device=device)
            first = torch.arange(len(self._at), device=device)[:, None] * self.cache.heads + heads
            self._places = (first * self.cache.tokens + self._at[:, None]).flatten()
        return self._places

    def _rows(self, places: Sequence[int], device: torch.device) -> torch.Tensor:  # noqa: ARG002
        return self._at


class DecodeGraph:
    """Compute one step of so many rows over `end` places with the same adapters at hand."""

    def __init__(
        self,
        decoder: Decoder,
        cache: KVCache,
        shape: tuple[int, int],
        stacks: Sequence[Stack | None],
        pool: Any,
    ) -> None:
        """`shape` is rows and places; `pool` the graphs' shared memory, None for no graph."""
        self.rows, self._end = shape
        self._decoder, self._cache, self._stacks = decoder, cache, stacks
        self._inputs = torch.zeros(3, self.rows, dtype=torch.long, device=decoder.device)
        self._graph: Any = None
        if pool is not None:
            self._capture(pool)

    def _forward(self) -> torch.Tensor:
        ids, at, who = self._inputs
        attend = FixedAttention(self._cache, self._end, at)
        mix = Mix(self._stacks, who if self._stacks else None, {})
        rows = list(range(self.rows))
        return self._decoder.forward(ids, at, Batch(rows, attend, rows, mix))

    def _capture(self, pool: Any) -> None:
        """Play the step into a graph; whatever it writes meanwhile lands in each row's last place."""
        self._inputs[1] = self._cache.tokens - 1
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._forward()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as that of pictures, may use the device meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._logits = self._forward()
        self._graph = graph

    def __call__(self, rows: list[tuple[int, int, int]]) -> torch.Tensor:
        """Take token, position and adapter's number of each row; the next call overwrites its logits."""
        empty = (0, self._cache.tokens - 1, -1)
        filled = rows + [empty] * (self.rows - len(rows))
        self._inputs.copy_(torch.tensor(filled).t())
        if self._graph is None:
            return self._forward()[: len(rows)]
        self._graph.replay()
        return self._logits[: len(rows)]


class DecodeGraphs:
    def __init__(self, decoder: Decoder, cache: KVCache, stacks: Stacks) -> None:
        self._decoder, self._cache, self._stacks = decoder, cache, stacks
        self._graphs: OrderedDict[tuple[object, ...], DecodeGraph] = OrderedDict()
        self._keys: list[torch.Tensor] | None = None  # the cache's tensors that they were made for
        self._captures = decoder.device.type == "cuda"
        self._pool: Any = None
        self.fault = ""  # why there are none

    def forget(self) -> None:
        self._graphs.clear()
        self._pool = None

    def logits(
        self, rows: Sequence[TextSequence], adapters: Mapping[AdapterKey, Adapter]
    ) -> torch.Tensor | None:
        """Compute the rows' next logits, overwritten by the next call; None if there is no graph. A
        batch with an adapter has all of them at hand, so that its make-up asks for no new graph."""
        if self.fault or not rows:
            return None
        if self._keys is not self._cache.keys:  # the cache has moved
            self.forget()
            self._keys = self._cache.keys
        bare = all(row.adapter == BARE for row in rows)
        present = () if bare else tuple(sorted(adapters))
        count = min(bucket(len(rows)), self._cache.rows)
        end = min(bucket(max(row.read for row in rows) + 1, LEAST_END), self._cache.tokens)
        graph = self._graph((present, count, end), adapters)
        if graph is None:
            return None
        number = {key: place for place, key in enumerate(present)}
        return graph([(r.tokens[r.read], r.read, number.get(r.adapter, -1)) for r in rows])

    def _graph(
        self, key: tuple[tuple[AdapterKey, ...], int, int], adapters: Mapping[AdapterKey, Adapter]
    ) -> DecodeGraph | None:
        if key not in self._graphs:
            device, (present, rows, places) = self._decoder.device, key
            if free_bytes(device) < ROOM:
                return None
            while len(self._graphs) >= MOST_GRAPHS:
                self._graphs.popitem(last=False)
            try:
                if self._captures and self._pool is None:
                    self._pool = torch.cuda.graph_pool_handle()
                stacks = self._stacks.of(present, adapters)
                shape = rows, places
                made = DecodeGraph(self._decoder, self._cache, shape, stacks, self._pool)
            except Exception as error:  # noqa: BLE001 - the step is computed without a graph then
                self.forget()
                self.fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                log.warning("decode steps go without CUDA graphs: %s", self.fault)
                return None
            log.info("a decode step was captured", extra={"rows": rows, "places": places})
            self._graphs[key] = made
        self._graphs.move_to_end(key)
        return self._graphs[key]
