"""Who sits in the batch: rows join, are read in, write and leave, one step at a time.

First come, first served. A step's forward takes one token of every writing row and, packed beside
them, a piece of the prompts that are still being read, so a long prompt never holds the others up for
longer than a piece. Writing rows stand first in the cache, those still being read after them.
"""

import logging
from collections import OrderedDict, deque
from itertools import islice

import torch

from engine.backends.counters import Counters
from engine.backends.memory import free_bytes, is_out_of_memory
from engine.backends.mixing.adapters import BARE, Adapter, AdapterKey
from engine.backends.mixing.attention import Attention, Piece
from engine.backends.mixing.decode_graphs import DecodeGraphs
from engine.backends.mixing.decoder import Batch, Decoder
from engine.backends.mixing.kv_cache import ROOMY_TOKENS, KVCache
from engine.backends.mixing.multi_lora import Stacks
from engine.backends.mixing.prefix_cache import BLOCK, LEAST_TOKENS, Context, PrefixCache, shared
from engine.backends.mixing.sampler import choose
from engine.backends.mixing.sequence import UNFIT, TextSequence
from engine.errors import ModelError

PIECE = 128  # tokens of prompts that are read in a step beside rows that write
PIECE_ALONE = 512  # the same while nobody writes
ACCELERATED = 4  # times as many tokens, and slots, on a GPU
MOST_SLOTS = 16  # unless the settings say otherwise
TYPICAL_TOKENS = 1024  # of a prompt and its answer, to size slots by
CACHE_SHARE, PREFIX_SHARE, ADAPTER_SHARE = 0.4, 0.05, 0.1  # of the free memory

log = logging.getLogger(__name__)


class MixingScheduler:
    def __init__(
        self,
        decoder: Decoder,
        gauges: Counters,
        slots: int = 0,
        cache_bytes: int = 0,
        *,
        fixed: bool | None = None,
    ) -> None:
        """0 sizes `slots` and `cache_bytes` by free memory; a GPU's graphs need `fixed` shapes."""
        free = free_bytes(decoder.device)
        accelerated = decoder.device.type == "cuda"
        self._fixed = accelerated if fixed is None else fixed
        self._times = ACCELERATED if accelerated else 1
        budget, self.decoder = cache_bytes or int(free * CACHE_SHARE), decoder
        sizes = len(decoder.layers), decoder.kv_heads, decoder.head_size
        self.cache = KVCache(*sizes, decoder.dtype, decoder.device, budget)
        fitting = budget // (TYPICAL_TOKENS * self.cache.token_bytes)
        self.slots = self._most = slots or max(1, min(self._times * MOST_SLOTS, fitting))
        self._block = self._times * PIECE if accelerated else BLOCK
        self.prefixes = PrefixCache(int(free * PREFIX_SHARE), 1 if accelerated else BLOCK)
        self._stacks = Stacks(decoder.linears)
        self._graphs = DecodeGraphs(decoder, self.cache, self._stacks)
        self._adapters: OrderedDict[AdapterKey, Adapter] = OrderedDict()
        self._adapter_bytes = int(free * ADAPTER_SHARE)
        self._gauges = gauges
        self._waiting: deque[TextSequence] = deque()
        self._rows: list[TextSequence] = []
        self._reading: deque[TextSequence] = deque()  # of the rows, with prompts not read yet
        self._writing = 0
        log.info("slots of the batch", extra={"slots": self.slots, "cache_mb": budget >> 20})

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._rows)

    @property
    def seated(self) -> int:
        return len(self._rows)

    def has(self, key: AdapterKey) -> bool:
        return key == BARE or key in self._adapters

    def adopt(self, key: AdapterKey, adapter: Adapter) -> None:
        """Take an adapter in; those unused for longest may have to leave for it."""
        self._adapters[key] = adapter
        self._graphs.forget()  # they have the adapters' stacks in them
        needed = {row.adapter for row in self._everyone()} | {key}
        idles = iter([held for held in self._adapters if held not in needed])
        while sum(map(_bytes_of, self._adapters.values())) > self._adapter_bytes:
            if (idle := next(idles, None)) is None:
                break
            del self._adapters[idle]
            self._stacks.forget(idle)
            log.info("an adapter left memory", extra={"digest": idle, "for": key})

    def add(self, row: TextSequence) -> None:
        if not self.busy:
            self.slots = self._most
        if row.adapter in self._adapters:
            self._adapters.move_to_end(row.adapter)
        self._waiting.append(row)

    def give_up(self, error: Exception) -> None:
        for row in self._everyone():
            row.emit(error)
        for held in (self._waiting, self._reading, self._rows):
            held.clear()
        self._writing = 0
        self._clear()

    def rest(self) -> None:
        """Give back the memory that steps work in, if nobody is there."""
        if not self._rows:
            self.cache.clear()
            self._graphs.forget()

    def _clear(self) -> None:
        # graphs are bound to where the cache is; one long answer shall not take all others' room
        if not self._fixed or self.cache.tokens > ROOMY_TOKENS:
            self.rest()

    def _everyone(self) -> list[TextSequence]:
        return [*self._rows, *self._waiting]

    @torch.inference_mode()
    def step(self) -> None:
        """Take one step: a token for every row that writes, pieces of the prompts that are read."""
        for row in [row for row in self._everyone() if row.stopped()]:
            row.cancel()
            self._dismiss(row)
        self._admit()
        if self._rows:
            try:
                self._advance()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink()
        self._clear()

    def _admit(self) -> None:
        self._clear()
        group = list(islice(self._waiting, max(0, self.slots - len(self._rows))))
        fit = bool(group) and self._room(len(group), max(row.need for row in group))
        for row in group:
            if fit or self._room(1, row.need):
                self._seat(row)
            elif self._rows:
                return  # it waits until others have left
            else:
                self._waiting.remove(row)
                row.refuse_length()

    def _room(self, more: int, tokens: int) -> bool:
        return self.cache.fits(len(self._rows) + more, tokens, roomy=self._fixed)

    def _seat(self, row: TextSequence) -> None:
        self._waiting.remove(row)
        row.begin()
        row.place = len(self._rows)
        self._rows.append(row)
        self._reading.append(row)
        row.read, held = self.prefixes.find(row.context)
        row.known, row.borrowed = row.read, False
        if held is not None:
            self.cache.copy_in(row.place, held, row.read)
        self._gauges.seated(row)

    def _advance(self) -> None:
        writers, pieces, ready = self._rows[: self._writing], self._pieces(), []
        found = self._graphs.logits(writers, self._adapters) if self._fixed else None
        loose = writers if found is None else []
        attend = Attention(self.cache, [row.read for row in loose], [p for _, p in pieces])
        ids = [row.tokens[row.read] for row in loose]
        adapters = [row.adapter for row in loose]
        wanted = list(range(len(loose)))
        for row, piece in pieces:
            ids += row.tokens[piece.start : piece.start + piece.length]
            adapters += [row.adapter] * piece.length
            if piece.start + piece.length == len(row.tokens):
                ready.append(row)
                wanted.append(len(ids) - 1)
        logits = [] if found is None else [found]
        if ids:
            mix = self._stacks.mix(adapters, self._adapters)
            logits.append(self.decoder(Batch(ids=ids, attend=attend, wanted=wanted, mix=mix)))
        for row in writers:
            row.read += 1
        for row, piece in pieces:
            row.read += piece.length
        for row in ready:
            self._reading.remove(row)
            self._keep(row)
            self._promote(row)
        if writers or ready:
            self._write(writers + ready, logits[0] if len(logits) == 1 else torch.cat(logits))

    def _pieces(self) -> list[tuple[TextSequence, Piece]]:
        """Choose what is read in this step, in blocks: attention meets the same shapes every time."""
        left, pieces = self._times * (PIECE if self._writing else PIECE_ALONE), []
        for row in self._reading:
            if self._borrows(row):
                continue
            start, end = row.read, len(row.tokens)
            for cut in (*range(self._block, self.prefixes.whole(end) + 1, self._block), end):
                if start < cut <= start + left:
                    pieces.append((row, Piece(row.place, start, cut - start)))
                    start, left = cut, left - (cut - start)
            if start < end:
                break
        return pieces

    def _borrows(self, row: TextSequence) -> bool:
        """Copy the start of a row that has read the same, or tell whether to wait until it has."""
        for other in self._rows if not row.read else ():
            length = shared(other.context, row.context)
            if other is row or length < LEAST_TOKENS:
                continue
            if other.read >= length:
                self.cache.move(other.place, row.place, length)
                row.read = row.known = length
                row.borrowed = True
                self._gauges.tokens_known += length
                return False
            if other in islice(self._reading, self._reading.index(row)):
                return True
        return False

    def _keep(self, row: TextSequence) -> None:
        length = self.prefixes.whole(row.prompt)
        if length - row.known >= LEAST_TOKENS and not row.borrowed:  # that is in no whole blocks
            begun = Context(row.adapter, tuple(row.tokens[:length]))
            self.prefixes.keep(begun, self.cache.copy_out(row.place, length))

    def _write(self, rows: list[TextSequence], logits: torch.Tensor) -> None:
        tokens = choose(logits, [row.draw() for row in rows])
        for row, token in zip(rows, tokens, strict=True):
            if token is None:
                self.prefixes.forget(row.adapter)
                row.emit(ModelError(UNFIT.format(expert=row.job.expert)))
                self._dismiss(row)
                continue
            first = not row.written
            over = row.add(token)
            self._gauges.wrote(row, first=first)
            if over:
                self._dismiss(row)

    def _promote(self, row: TextSequence) -> None:
        place, target = row.place, self._writing
        if place != target:
            other = self._rows[target]
            self.cache.swap(place, target, max(row.read, other.read))
            self._rows[place], self._rows[target] = other, row
            row.place, other.place = target, place
        self._writing += 1

    def _dismiss(self, row: TextSequence) -> None:
        """Drop a row; the last of the writing and the last of all close the gap."""
        if row.place < 0:
            self._waiting.remove(row)
            return
        gap = row.place
        self.cache.wipe(gap)
        if gap < self._writing:
            self._writing -= 1
            self._move(self._writing, gap)
            gap = self._writing
        else:
            self._reading.remove(row)
        self._move(len(self._rows) - 1, gap)
        self._rows.pop()
        row.place = -1

    def _move(self, source: int, target: int) -> None:
        if source != target:
            mover = self._rows[source]
            self.cache.move(source, target, mover.read)
            self.cache.wipe(source)
            self._rows[target], mover.place = mover, target

    def _shrink(self) -> None:
        """Queue all rows anew, first in line, after memory ran out at whatever moment of a step."""
        self.prefixes.forget()
        rows, self._writing = sorted(self._rows, key=lambda row: row.waited), 0
        self._rows.clear()
        self._reading.clear()
        self.rest()
        for row in rows:
            row.place = -1
        if len(rows) == 1:
            rows[0].refuse_length()
            return
        self.slots = len(rows) // 2
        self._waiting.extendleft(reversed(rows))
        log.warning("out of memory: the batch has fewer slots now", extra={"slots": self.slots})


def _bytes_of(adapter: Adapter) -> int:
    return sum(tensor.nbytes for update in adapter.values() for tensor in update)
