"""The backend that asks a text server: every fault of the server ends in one clear event or error."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from completions_server import Fault, TextServer, text_server
from pydantic import SecretStr
from tiny_models import write_card

from engine.backends.factory import build_backend
from engine.backends.stop_rules import latest
from engine.backends.text_server.backend import OpenAIBackend, Patience
from engine.backends.text_server.served_adapters import number
from engine.errors import ModelError, SetupError
from engine.events import Cancelled, Event, Finished, Started, Text, is_final
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Job
from engine.settings import Settings, read_settings

Open = Callable[..., Awaitable[OpenAIBackend]]
QUICK = Patience(connect=1.0, silence=0.5, first_retry=0.01, longest_retry=0.1, tries=3)


@pytest.fixture
def server() -> Iterator[TextServer]:
    with text_server() as running:
        yield running


@pytest.fixture
def registry(settings: Settings, tmp_path: Path) -> Registry:
    root = settings.home / "experts"
    for name in ("moss", "fern"):
        write_card(root, name, "base", tmp_path / name)
    write_card(root, "bare", "base")
    return Registry.load([root], "embedded")


@pytest.fixture
async def opened(settings: Settings, registry: Registry) -> AsyncIterator[Open]:
    """Open a backend on a server; it is closed when the test is over."""
    made: list[OpenAIBackend] = []

    async def opening(server: TextServer, patience: Patience = QUICK) -> OpenAIBackend:
        chosen = settings.model_copy(
            update={"text_server": server.address, "text_server_key": SecretStr("s3cret")}
        )
        made.append(OpenAIBackend(chosen, registry, patience))
        await made[-1].load()
        return made[-1]

    yield opening
    for backend in made:
        await backend.close()


def a_job(expert: str = "moss", **changes: object) -> Job:
    values = {
        "id": "j",
        "request": "r",
        "expert": expert,
        "medium": "text",
        "prompt": "Continue.\n\nIt rained.",
        "head": 11,
        "length": 30,
        "seed": 7,
        "sampling": Sampling(top_k=40, repetition_penalty=1.1, dry_multiplier=0.8),
        **changes,
    }
    return Job(**values)  # type: ignore[arg-type]


async def run(backend: OpenAIBackend, job: Job, stop_after: int | None = None) -> list[Event]:
    stop, events, texts = threading.Event(), [], 0
    async for event in backend.generate(job, stop):
        events.append(event)
        texts += isinstance(event, Text)
        if texts == stop_after:
            stop.set()
    assert [is_final(e) for e in events] == [False] * (len(events) - 1) + [True]
    return events


async def test_an_answer_grows_and_ends_with_a_sentence(server, opened) -> None:
    backend = await opened(server)
    events = await run(backend, a_job())
    assert isinstance(events[0], Started)
    texts = [e.text for e in events if isinstance(e, Text)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    final = events[-1]
    assert isinstance(final, Finished)
    assert final.text.startswith("word0 word1") and final.text.endswith("word35.")
    assert (final.tokens_in, final.tokens_out) == (31, 36), "the server's own count"
    asked = server.asked[0]
    assert (asked["model"], asked["seed"], asked["top_k"]) == ("moss", 7, 40)
    assert (asked["repeat_penalty"], asked["repeat_last_n"]) == (1.1, 64)
    assert "repetition_penalty" not in asked, "vLLM's own would be on the prompt's words too"
    assert (asked["dry_multiplier"], asked["max_tokens"]) == (0.8, latest(30))
    assert server.keys == {"Bearer s3cret"}


async def test_every_expert_is_asked_for_by_its_own_name(server, opened) -> None:
    backend = await opened(server)
    await asyncio.gather(*[run(backend, a_job(name)) for name in ("moss", "fern", "bare")])
    assert sorted(asked["model"] for asked in server.asked) == ["base", "fern", "moss"]


async def test_llama_cpps_adapters_are_chosen_by_number(opened) -> None:
    loras = [
        {"id": n, "path": f"/w/{name}.gguf", "scale": 1.0}
        for n, name in enumerate(("fern", "moss"))
    ]
    with text_server(models=("base",), loras=loras, usage=False) as server:
        backend = await opened(server)
        final = (await run(backend, a_job("moss")))[-1]
        assert server.asked[0]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
        assert (final.base_digest, final.adapter_digest) == ("server:base", "server:moss.gguf")
        assert final.tokens_out == 36, "counted here, for it did not say"


async def test_llama_cpps_numbers_are_those_of_the_server_that_is_there_now(opened) -> None:
    """Started again it may have others, and passes over a number that it does not know."""
    fern, moss = ({"path": f"/w/{name}.gguf", "scale": 1.0} for name in ("fern", "moss"))
    with text_server(
        models=("/w/base.gguf",), loras=[fern | {"id": 0}, moss | {"id": 1}]
    ) as server:
        backend = await opened(server)
        await run(backend, a_job("moss"))
        server.loras = [fern | {"id": 0}]
        with pytest.raises(ModelError, match="no model moss"):
            await run(backend, a_job("moss"))
        server.loras = [moss | {"id": 0}, fern | {"id": 1}]
        final = (await run(backend, a_job("moss")))[-1]
        assert server.asked[-1]["lora"] == [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}]
        assert final.base_digest == "server:base.gguf", "and no folder of the server's machine"
        server.faults += [Fault(model="other")]
        with pytest.raises(ModelError, match="answered as other"):
            await run(backend, a_job("moss"))
        server.loras = None
        with pytest.raises(ModelError, match="does not list its adapters"):
            await run(backend, a_job("moss"))
        assert len(server.asked) == 3, "without a list it would answer with all adapters at once"


async def test_llama_cpps_prompt_cache_brings_no_other_adapters_words(opened) -> None:
    loras = [
        {"id": n, "path": f"/w/{name}.gguf", "scale": 1.0}
        for n, name in enumerate(("fern", "moss"))
    ]
    jobs = [a_job("moss"), a_job("fern"), a_job("moss", plain=True), a_job("bare")]
    alone = []
    for job in jobs:
        with text_server(models=("base",), loras=loras) as server:
            alone.append((await run(await opened(server), job))[-1].text)
    assert len(set(alone)) == 3, "each adapter writes otherwise, and two write with none"
    with text_server(models=("base",), loras=loras) as server:
        backend = await opened(server)
        assert [(await run(backend, job))[-1].text for job in jobs] == alone


@pytest.mark.parametrize(
    ("paths", "numbers"),
    [
        (["/w/moss/fern.gguf", "/w/moss.gguf"], {"fern": 0, "moss": 1}),
        (["/w/moss/fern.gguf"], {"fern": 0}),
        (["/w/mosses.gguf", "/moss/w/o.gguf"], {}),
        (["C:\\w\\moss\\adapter.gguf"], {"moss": 0}),
    ],
)
def test_a_numbered_adapter_is_the_experts_whose_whole_name_it_has(paths, numbers) -> None:
    listed = [{"id": n, "path": path} for n, path in enumerate(paths)]
    found = number(["moss", "fern", "bare"], listed)
    assert found is not None
    assert {expert: one for expert, (one, _) in found.of.items()} == numbers


def test_two_numbered_adapters_for_one_expert_are_refused_by_name() -> None:
    listed = [{"id": 0, "path": "/w/moss.gguf"}, {"id": 1, "path": "/w/moss/adapter.gguf"}]
    with pytest.raises(ModelError, match=r"moss: moss\.gguf and adapter\.gguf"):
        number(["moss"], listed)


async def test_the_record_names_the_servers_base_and_adapter(server, opened) -> None:
    backend = await opened(server)
    told = [(await run(backend, job))[-1] for job in (a_job(), a_job(plain=True), a_job("bare"))]
    assert [(t.base_digest, t.adapter_digest) for t in told] == [
        ("server:base", "server:moss"), ("server:base", ""), ("server:base", ""),
    ]  # fmt: skip


async def test_a_chat_model_alone_is_asked_in_a_turn_that_it_has_begun_to_answer(opened) -> None:
    job = a_job("moss", prompt="A tale.\n\nIt rained.", head=9, plain=True)
    with text_server() as server:
        server.faults += [Fault(cut=True, after=2)]
        await run(await opened(server), job)
        first, again = server.asked
        assert [said["role"] for said in first["messages"]] == ["user", "assistant"]
        assert first["messages"][0]["content"].endswith("nothing about it.\n\nA tale.\n\n")
        assert first["messages"][1]["content"] == "It rained." and first["continue_final_message"]
        assert again["messages"][1]["content"] == "It rained.word0 word1 ", "and goes on from there"
        await run(await opened(server), replace(job, head=len(job.prompt)))
        [only] = server.asked[-1]["messages"]
        assert only["role"] == "user" and server.asked[-1]["add_generation_prompt"]
    with text_server(turns=False) as server:
        final = (await run(await opened(server), job))[-1]
        assert isinstance(final, Finished) and server.asked[-1]["prompt"] == job.prompt


async def test_a_plain_job_asks_for_the_base_without_an_adapter(server, opened) -> None:
    backend = await opened(server)
    await run(backend, a_job("moss", plain=True))
    assert server.asked[-1]["model"] == "base"
    loras = [{"id": 0, "path": "/w/moss.gguf", "scale": 1.0}]
    with text_server(models=("gguf",), loras=loras) as llama:
        await run(await opened(llama), a_job("moss", plain=True))
        assert (llama.asked[0]["model"], llama.asked[0]["lora"]) == (
            "gguf",
            [{"id": 0, "scale": 0.0}],
        )
    with text_server(models=("moss", "fern")) as lorax:
        backend = await opened(lorax)
        with pytest.raises(ModelError, match="the base of moss"):
            await run(backend, a_job("moss", plain=True))


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_a_busy_server_is_asked_again_later(server, opened, status) -> None:
    backend = await opened(server)
    server.faults += [Fault(status=status, retry_after="0.3"), Fault(status=status)]
    server.faults += [Fault(status=status, retry_after="Fri, 27 Nov 2026 13:00:00 GMT")]
    began = time.monotonic()
    assert isinstance((await run(backend, a_job()))[-1], Finished)
    assert len(server.asked) == 4
    assert time.monotonic() - began > 0.3, (
        "as long as it says, though our own first pause is shorter"
    )


async def test_a_server_that_stays_busy_is_told(server, opened) -> None:
    backend = await opened(server)
    server.faults += [Fault(status=503)] * 9
    with pytest.raises(ModelError, match="did not answer to the end"):
        await run(backend, a_job())
    assert len(server.asked) == QUICK.tries + 1


@pytest.mark.parametrize(
    "fault", [Fault(after=9, cut=True), Fault(after=9, hang=0.8), Fault(after=9, garbage=True)]
)
async def test_a_stream_that_breaks_is_gone_on_with(server, opened, fault) -> None:
    backend = await opened(server)
    server.faults += [fault]
    events = await run(backend, a_job())
    final = events[-1]
    assert isinstance(final, Finished)
    assert final.text.startswith(" ".join(f"word{n}" for n in range(11)))
    assert final.text.endswith("word35."), "nothing twice, nothing left out"
    texts = [e.text for e in events if isinstance(e, Text)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert server.asked[1]["prompt"].endswith("word8 ")


async def test_a_cancel_closes_the_stream_at_once(server, opened) -> None:
    server.pause = 0.02
    backend = await opened(server)
    events = await run(backend, a_job(length=300), stop_after=4)
    assert isinstance(events[-1], Cancelled)
    assert events[-1].text.startswith("word0 word1")
    assert await asyncio.to_thread(server.left.wait, 5), "the server noticed"


def open_generators() -> set[AsyncGenerator]:
    found = [one for one in gc.get_objects() if isinstance(one, AsyncGenerator)]
    return {one for one in found if one.ag_frame and "site-packages" in one.ag_code.co_filename}


@pytest.mark.parametrize("stop_after", [None, 3], ids=["its own end", "a cancel"])
async def test_a_stream_that_is_left_early_leaves_no_generator_of_the_library_behind(
    server, opened, stop_after
) -> None:
    """Else a garbage collector ends it in another thread, perhaps while it runs."""
    server.pause = 0.01
    backend = await opened(server)
    before = open_generators()
    gc.disable()
    try:
        assert isinstance((await run(backend, a_job(), stop_after))[-1], Finished | Cancelled)
        assert open_generators() <= before
    finally:
        gc.enable()


async def test_a_cancel_is_noticed_while_the_server_hangs(server, opened) -> None:
    backend = await opened(server, Patience())  # of a minute
    server.faults += [Fault(after=2, hang=30), Fault(status=503, hang=30)]
    began = time.monotonic()
    events = await run(backend, a_job(), stop_after=2)
    assert isinstance(events[-1], Cancelled)
    stop = threading.Event()  # before its first word: llama.cpp's answers nothing until then
    asyncio.get_running_loop().call_later(0.3, stop.set)
    assert isinstance([event async for event in backend.generate(a_job(), stop)][-1], Cancelled)
    assert time.monotonic() - began < 25, "it did not wait for the server"


async def test_another_models_answer_is_refused(server, opened) -> None:
    backend = await opened(server)
    server.faults += [Fault(model="fern")]
    with pytest.raises(ModelError, match="answered as fern when moss was asked"):
        await run(backend, a_job("moss"))


async def test_a_missing_model_is_told_with_what_there_is(opened, caplog) -> None:
    with text_server(models=("base", "moss")) as server:
        backend = await opened(server)
        assert "has no model fern; it has base, moss" in caplog.text
        with pytest.raises(ModelError, match=r"no model fern.*docs/vllm\.md"):
            await run(backend, a_job("fern"))
    with text_server(models=("other",)) as server, pytest.raises(ModelError, match="it has other"):
        await opened(server)


async def test_a_server_that_is_not_there_is_told_without_its_password(opened) -> None:
    with text_server() as server:
        address = server.address.replace("//", "//me:hidden@")
    with pytest.raises(ModelError, match="does not answer") as told:
        await opened(TextServer(address=address))
    assert "hidden" not in str(told.value)


async def test_a_beginning_beyond_the_servers_window_is_shortened_and_told(server, opened) -> None:
    backend = await opened(server)
    server.faults += [Fault(status=400, message="maximum context length is 512")] * 2
    prompt = "Continue.\n\n" + "It rained. " * 100
    final = (await run(backend, a_job(prompt=prompt)))[-1]
    assert "left out" in final.notes[0]
    shorter = server.asked[-1]["prompt"]
    assert shorter.startswith("Continue.\n\n") and len(shorter) < len(prompt) / 2
    server.faults += [Fault(status=400, message="bad top_p")]
    with pytest.raises(ModelError, match="refused"):
        await run(backend, a_job())


async def test_the_setting_chooses_this_backend(server, settings, registry) -> None:
    chosen = settings.model_copy(update={"backend": "model", "text_server": server.address})
    assert isinstance(build_backend(chosen, registry, "text"), OpenAIBackend)


def test_the_servers_key_is_neither_in_the_file_nor_in_another_process(settings) -> None:
    secret = settings.model_copy(update={"text_server_key": SecretStr("s3cret")})
    assert "s3cret" not in str(secret.environment()) + repr(secret)
    settings.home.mkdir()
    (settings.home / "pastiche.toml").write_text('text_server_key = "s3cret"\n')
    with pytest.raises(SetupError, match="secret"):
        read_settings(home=settings.home)
