"""vLLM as a child of the worker: every fault of it, by a stand-in that is a program and a server too."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from forked import programs
from program import events, pastiche, start, stop, wait_for
from test_openai_api import a_job, run
from tiny_models import make_adapter, make_base, write_card
from vllm_program import Installed

from engine.backends.factory import build_backend
from engine.backends.text import TextBackend
from engine.backends.text_server.retry import Patience
from engine.backends.text_server.vllm_backend import VllmBackend
from engine.backends.text_server.vllm_plan import vllm_program
from engine.backends.text_server.vllm_server import Limits
from engine.errors import ModelError
from engine.events import Event, Finished, Text
from engine.plan.cards import Registry, load_registry
from engine.settings import Settings

QUICK = Patience(connect=1.0, silence=0.5, first_retry=0.02, longest_retry=0.1, tries=6)
SOON = Limits(start=20.0, look=0.05, silence=1.5, pause=0.02, longest_pause=0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with two adapters, for cards."""
    folder = tmp_path_factory.mktemp("weights")
    make_base(folder / "base", "llama")
    for seed, name in enumerate(("moss", "fern")):
        make_adapter(folder / "base", folder / name, seed)
    return folder


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A profile that no built-in card has weights for."""
    return settings.model_copy(update={"profile": "tiny"})


def card(settings: Settings, name: str, base: Path, adapter: Path | str = "") -> Path:
    folder = write_card(settings.home / "experts", name, base, adapter)
    path = folder / "card.toml"
    path.write_text(path.read_text().replace("profiles.embedded", "profiles.tiny"))
    return folder


@pytest.fixture
def registry(settings: Settings, weights: Path) -> Registry:
    """Moss, fern, and the base by itself."""
    for name in ("moss", "fern"):
        card(settings, name, weights / "base", weights / name)
    card(settings, "bare", weights / "base")
    return load_registry(settings.expert_roots, settings.profile)


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    made = Installed(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    return made


@asynccontextmanager
async def serving(settings: Settings, registry: Registry) -> AsyncIterator[VllmBackend]:
    backend = VllmBackend(settings, registry, QUICK, SOON)
    await backend.load()
    try:
        yield backend
    finally:
        await backend.close()


async def gone(vllm: Installed, seconds: float = 20) -> None:
    """Wait until nothing that was started is left."""
    async with asyncio.timeout(seconds):
        while vllm.alive():
            await asyncio.sleep(0.05)


def whole(events: list[Event]) -> str:
    """The answer, which only ever grew."""
    texts = [e.text for e in events if isinstance(e, Text)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts)), "nothing twice"
    assert isinstance(events[-1], Finished)
    return events[-1].text


async def test_it_is_started_with_the_cards_base_and_adapters(settings, registry, vllm) -> None:
    vllm.order({"late": 0.5})
    async with serving(settings, registry) as backend:
        made = [await run(backend, a_job(name)) for name in ("moss", "fern")]
        bare = [await run(backend, a_job("bare")), await run(backend, a_job("moss", plain=True))]
    (start,) = vllm.starts
    said = dict(pairwise(start["words"]))
    assert (said["--max-loras"], said["--max-lora-rank"]) == ("2", "8"), "two of rank 4"
    moss, fern = [asked["model"] for asked in vllm.asked[:2]]
    assert moss.startswith("moss@") and fern.startswith("fern@")
    base = f"server:{Path(said['--served-model-name']).name}"  # a path is nobody else's business
    told = [(e[-1].base_digest, e[-1].adapter_digest) for e in made]
    assert told == [(base, f"server:{moss}"), (base, f"server:{fern}")]
    assert [e[-1].base_digest[:7] for e in bare] == ["sha256:"] * 2, "on a processor by our own"
    assert len(vllm.asked) == 2
    assert not Path(said["--uds"]).exists() and vllm.said == "told to end\n"
    await gone(vllm)


async def test_its_environment_is_a_list_and_its_key_is_its_own(
    settings, registry, vllm, monkeypatch
) -> None:
    for name in ("HF_TOKEN", "DISCORD_TOKEN", "PYTHONHOME_", "VLLM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    for _ in range(2):
        async with serving(settings, registry):
            pass
    first, second = (start["environment"] for start in vllm.starts)
    assert "s3cret" not in first.values() and first["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert len({first["VLLM_API_KEY"], second["VLLM_API_KEY"], ""}) == 3


@pytest.mark.parametrize(
    "fault", [{"after": 9, "cut": True}, {"after": 9, "message": "hang", "hang": 600}]
)
async def test_an_answer_goes_on_after_it_died_or_hung_amid_it(
    settings, registry, vllm, fault
) -> None:
    vllm.order({"faults": [fault]}, {})
    async with serving(settings, registry) as backend:
        text = whole(await run(backend, a_job()))
    assert text.startswith("word0 word1") and text.endswith("word35.")
    assert vllm.asked[-1]["prompt"].endswith("word8 ")
    assert len(vllm.starts) == 2
    await gone(vllm)


async def test_an_engine_that_hangs_behind_a_sound_health_is_started_again(
    settings, registry, vllm
) -> None:
    vllm.order({"faults": [{"after": 9, "hang": 600}]}, {})
    async with serving(settings, registry) as backend:
        assert whole(await run(backend, a_job())).endswith("word35.")
    assert len(vllm.starts) == 2


async def test_it_is_tried_again_until_it_comes_up(settings, registry, vllm) -> None:
    vllm.order({"faults": [{"after": 9, "cut": True}]}, {"exit": 1}, {"exit": 1}, {})
    async with serving(settings, registry) as backend:
        assert whole(await run(backend, a_job())).endswith("word35.")
    assert len(vllm.starts) == 4


async def test_a_busy_one_is_asked_again(settings, registry, vllm) -> None:
    vllm.order({"faults": [{"status": 429, "retry_after": "0.05"}]})
    async with serving(settings, registry) as backend:
        assert whole(await run(backend, a_job())).endswith("word35.")
    assert len(vllm.starts) == 1


@pytest.mark.parametrize(
    ("order", "told"),
    [({"exit": 3}, "code 3"), ({"late": 600}, "hangs"), ({"base": "other"}, "does not serve")],
)
async def test_one_that_does_not_come_up_is_told_and_leaves_nothing(
    settings, registry, vllm, order, told
) -> None:
    vllm.order(order)
    backend = VllmBackend(settings, registry, QUICK, replace(SOON, start=3.0))
    with pytest.raises(ModelError, match=told):
        await backend.load()
    await gone(vllm)


async def test_without_the_program_it_says_where_to_look(settings, registry, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ModelError, match=r"docs/vllm\.md"):
        await VllmBackend(settings, registry).load()


async def test_cards_that_come_and_go_need_no_new_start(settings, registry, vllm, weights) -> None:
    async with serving(settings, registry) as backend:
        card(settings, "reed", weights / "base", weights / "fern")
        assert whole(await run(backend, a_job("reed"))).endswith("word35.")
        first = vllm.asked[-1]["model"]
        card(settings, "reed", weights / "base", weights / "moss")
        await backend.learn()
        await run(backend, a_job("reed"))
        second = vllm.asked[-1]["model"]
        assert first.startswith("reed@") and second.startswith("reed@") and first != second
        shutil.rmtree(settings.home / "experts" / "reed")
        await backend.learn()
    told = [
        (asked["path"].split("/")[-1], asked["lora_name"])
        for asked in vllm.asked
        if "path" in asked
    ]
    assert told == [
        ("load_lora_adapter", first), ("load_lora_adapter", second),
        ("unload_lora_adapter", first), ("unload_lora_adapter", second),
    ]  # fmt: skip
    assert len(vllm.starts) == 1


async def test_an_adapter_that_vllm_refused_does_not_keep_it_from_coming_up_again(
    settings, registry, vllm, weights
) -> None:
    breaks = {"faults": [{"after": 9, "cut": True}]}
    vllm.order({"refuses": ["reed@"]} | breaks, {"refuses": ["reed@"]})
    async with serving(settings, registry) as backend:
        card(settings, "reed", weights / "base", weights / "fern")
        await backend.learn()
        assert whole(await run(backend, a_job())).endswith("word35.")
    assert len(vllm.starts) == 2
    assert "reed@" not in " ".join(vllm.starts[-1]["words"])


async def test_what_vllm_cannot_serve_our_own_engine_writes(
    settings, registry, vllm, weights
) -> None:
    make_base(weights / "another", "llama")
    card(settings, "dune", weights / "another")
    async with serving(settings, registry) as backend:
        final = (await run(backend, a_job("dune")))[-1]
        assert isinstance(final, Finished) and final.base_digest.startswith("sha256:")
    assert not vllm.asked


async def test_no_log_of_ours_holds_a_prompt_at_debug_neither(settings, bare, vllm) -> None:
    words = """
import asyncio
from test_vllm import *
from engine.monitor.logs import start_logs
from engine.settings import read_settings
settings = read_settings(profile="tiny")
start_logs(settings.home, "test", "DEBUG")
async def main():
    async with serving(settings, load_registry(settings.expert_roots, "tiny")) as backend:
        await run(backend, a_job("bare"))
asyncio.run(main())
"""
    own = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", words], env=own, check=True, timeout=120)
    logs = "".join(p.read_text() for p in (settings.home / "logs").iterdir())
    assert len(vllm.asked) == 1
    assert "vLLM is up" in logs and "It rained" not in logs and "word3" not in logs


async def test_a_machine_without_cuda_keeps_to_our_own_engine(settings, registry, vllm) -> None:
    import torch  # here, as children import this file, and need none

    chosen = settings.model_copy(update={"backend": "model"})
    assert vllm_program() == str(vllm.folder / "vllm")
    if not torch.cuda.is_available():
        assert isinstance(build_backend(chosen, registry, "text"), TextBackend)
    asked = chosen.model_copy(update={"text_engine": "vllm"})
    assert isinstance(build_backend(asked, registry, "text"), VllmBackend)


def test_the_printed_command_has_the_cards_own_names(settings, registry, weights) -> None:
    told = pastiche("worker", "--print-command", PASTICHE_PROFILE="tiny").stdout.decode()
    words = shlex.split(told)
    assert words[:3] == ["vllm", "serve", str(weights / "base")]
    assert [json.loads(w)["name"] for w in words if w.startswith("{")] == ["fern", "moss"]


WORKER = """
import asyncio, sys
from test_vllm import QUICK, SOON, VllmBackend, load_registry
from engine.settings import read_settings

async def main():
    settings = read_settings()
    backend = VllmBackend(settings, load_registry(settings.expert_roots, "tiny"), QUICK, SOON)
    await backend.load()
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start programs that end with the test, however that ends."""
    with ExitStack() as stack:

        def one(*words: str, **more: str) -> "subprocess.Popen[bytes]":
            process = start(*words, **PROGRAM, **more)
            stack.callback(stop, process)
            return process

        yield one


@pytest.fixture
def bare(settings: Settings, weights: Path) -> None:
    """One card, the base alone, which needs no torch in a process to be looked at."""
    card(settings, "bare", weights / "base")


async def test_a_killed_worker_leaves_nothing_not_even_a_deaf_one(settings, bare, vllm) -> None:
    vllm.order({"deaf": True})
    own = {"PASTICHE_PROFILE": "tiny", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", WORKER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | own) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"up\n"
        assert len(vllm.alive()) == 2, "itself and what it has started"
        worker.send_signal(signal.SIGKILL)
    await gone(vllm)
    assert vllm.said == "told to end\n"


def asks() -> "subprocess.Popen[bytes]":
    words = [programs() / "pastiche", "ask", "--json", "It rained.", "--length", "60"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | PROGRAM)


PROGRAM = {"PASTICHE_BACKEND": "model", "PASTICHE_PROFILE": "tiny", "PASTICHE_ROUTER": "rules"}


@pytest.mark.slow
@pytest.mark.databases("postgres")
def test_a_worker_that_is_told_to_leave_ends_what_it_writes_and_then_vllm(
    settings, bare, vllm, started
) -> None:
    vllm.order({"pause": 0.05})
    worker = started("worker", "--media", "text", "--vllm")
    wait_for(vllm.folder / "starts.jsonl")
    with asks() as asking:
        assert asking.stdout is not None
        first = next(line for line in asking.stdout if b"word3" in line)
        worker.send_signal(signal.SIGTERM)
        final = events(first + asking.stdout.read())[-1]
    worker.wait(60)
    assert (final["kind"], final["attempt"]) == ("finished", 1)
    asyncio.run(gone(vllm))
    assert vllm.said == "told to end\n" and len(vllm.starts) == 1


@pytest.mark.slow
def test_a_bots_own_worker_is_killed_with_its_vllm_and_both_come_again(
    settings, bare, vllm, started
) -> None:
    bot = started("chat", PASTICHE_TEXT_ENGINE="vllm")
    wait_for(settings.socket)
    for killed in (1, 2):
        with asks() as asking:
            final = events(asking.communicate(timeout=120)[0])[-1]
        logs = [path.read_text()[-3000:] for path in (settings.home / "logs").glob("*.jsonl")]
        why = final, bot.poll(), vllm.starts, logs
        assert final["kind"] == "finished" and final["base_digest"].startswith("server:"), why
        assert len(vllm.starts) == killed and len(vllm.alive()) == 2
        if killed == 1:
            os.kill(vllm.worker(), signal.SIGKILL)
            asyncio.run(gone(vllm))
    stop(bot)
    asyncio.run(gone(vllm))
