"""llama.cpp as a peer: run by tests.benchmarks.peers with the Python of a virtual environment that has
llama-cpp-python, gguf and safetensors. One JSON line in is a queue, one out is what it took.

An adapter belongs to a whole llama.cpp context, as in its server, so experts are served group by group;
within a group all rows are one batch.
"""

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import llama_cpp as cpp
import numpy as np
from gguf_files import close, requantise  # beside this file
from safetensors.numpy import load_file

WINDOW = 512  # tokens of a row
ROWS = 16
PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def convert_adapter(folder: Path, target: Path, heads: int, kv_heads: int) -> None:
    """A PEFT LoRA as GGUF; llama.cpp turns queries and keys in another order than transformers."""
    config = json.loads((folder / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(target, arch="llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, weight in load_file(folder / "adapter_model.safetensors").items():
        _, _, number, rest = name.removeprefix("base_model.model.").split(".", 3)
        part, side = rest.removesuffix(".weight").rsplit(".lora_", 1)
        turned = weight.astype(np.float32)
        if side == "B" and part.endswith(("q_proj", "k_proj")):
            count = heads if part.endswith("q_proj") else kv_heads
            half = turned.reshape(count, 2, len(turned) // count // 2, -1)
            turned = half.swapaxes(1, 2).reshape(turned.shape)
        full = f"blk.{number}.{PARTS[part]}.weight.lora_{side.lower()}"
        writer.add_tensor(full, np.ascontiguousarray(turned))
    close(writer)


class Context:
    """A model with its adapters, one thread."""

    def __init__(self, model: Path, adapters: dict[str, Path]) -> None:
        cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        self._model = cpp.llama_model_load_from_file(
            str(model).encode(), cpp.llama_model_default_params()
        )
        options = cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = WINDOW * ROWS, 2048, 512
        options.n_seq_max, options.n_threads, options.n_threads_batch = ROWS, 1, 1
        self._context = cpp.llama_init_from_model(self._model, options)
        self._size = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(self._model))
        self._adapters = {
            name: cpp.llama_adapter_lora_init(self._model, str(file).encode())
            for name, file in adapters.items()
        }

    def serve(self, queue: list[tuple[str, list[int], int]]) -> list[list[int]]:
        """Greedily, to the exact lengths."""
        made: list[list[int]] = [[] for _ in queue]
        for expert in dict.fromkeys(ask[0] for ask in queue):
            own = [n for n, ask in enumerate(queue) if ask[0] == expert]
            self._choose(expert)
            for start in range(0, len(own), ROWS):
                self._group(queue, own[start : start + ROWS], made)
        return made

    def _choose(self, expert: str) -> None:
        adapter = self._adapters.get(expert)
        if adapter is None:
            cpp.llama_set_adapters_lora(self._context, None, 0, None)
            return
        one = (cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        cpp.llama_set_adapters_lora(self._context, one, 1, (ctypes.c_float * 1)(1.0))

    def _group(self, queue: list[Any], own: list[int], made: list[list[int]]) -> None:
        cpp.llama_memory_clear(cpp.llama_get_memory(self._context), True)
        given = [(row, queue[n][1], 0) for row, n in enumerate(own)]
        while given:
            tokens = self._step(given)
            following = []
            for (row, ids, at), token in zip(given, tokens, strict=True):
                made[own[row]].append(token)
                if len(made[own[row]]) < queue[own[row]][2]:
                    following.append((row, [token], at + len(ids)))
            given = following

    def _step(self, given: list[tuple[int, list[int], int]]) -> list[int]:
        batch = cpp.llama_batch_init(sum(len(ids) for _, ids, _ in given), 0, 1)
        last, place = [], 0
        for row, ids, at in given:
            for offset, token in enumerate(ids):
                batch.token[place], batch.pos[place] = token, at + offset
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
                batch.logits[place] = offset == len(ids) - 1
                place += 1
            last.append(place - 1)
        batch.n_tokens = place
        if cpp.llama_decode(self._context, batch):
            raise RuntimeError("llama_decode failed")
        cpp.llama_batch_free(batch)
        return [
            int(
                np.ctypeslib.as_array(
                    cpp.llama_get_logits_ith(self._context, n), (self._size,)
                ).argmax()
            )
            for n in last
        ]


@cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: Any) -> None:
    """Nothing on the screen."""


def main() -> None:
    """argv[1]: {"gguf", "base", "folder", "adapters": {name: folder}, "kind": "Q8_0"}."""
    wish = json.loads(sys.argv[1])
    folder, kind = Path(wish["folder"]), wish["kind"]
    config = json.loads((Path(wish["base"]) / "config.json").read_text())
    model = folder / f"{kind}.gguf"
    requantise(Path(wish["gguf"]), model, gguf.GGMLQuantizationType[kind])
    adapters = {}
    for name, place in wish["adapters"].items():
        adapters[name] = folder / f"{kind}-{name}.gguf"
        heads = config["num_attention_heads"], config["num_key_value_heads"]
        convert_adapter(Path(place), adapters[name], *heads)
    context = Context(model, adapters)
    print("RESULT " + json.dumps({"says": cpp.llama_print_system_info().decode()}), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        made = context.serve(json.loads(line))
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "made": made}
        print("RESULT " + json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
