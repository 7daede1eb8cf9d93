"""The text worker's metrics, read as Prometheus reads them."""

import asyncio
import socket
import threading
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tiny_layouts import make_layout, make_lora
from tiny_models import write_card

from engine.backends.echo import EchoBackend
from engine.backends.text import TextBackend
from engine.jobs import Job
from engine.metrics import show_metrics
from engine.registry import Registry, Sampling
from engine.settings import Settings


@pytest.fixture
def backend(tmp_path: Path, settings: Settings) -> TextBackend:
    base = make_layout(tmp_path / "base", "llama")
    write_card(tmp_path / "experts", "moss", base, make_lora(base, tmp_path / "moss", 1))
    registry = Registry.load([tmp_path / "experts"], "embedded")
    return TextBackend(settings.model_copy(update={"threads": 1, "slots": 3}), registry)


def read(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {s.name: s.value for f in text_string_to_metric_families(text) for s in f.samples}


async def test_tokens_slots_waits_and_first_tokens_are_counted(backend: TextBackend) -> None:
    await backend.load()
    port = show_metrics(backend, backend.slots, 0)

    async def ask(number: int) -> int:
        job = Job(
            id=f"j{number}",
            request="r",
            expert="moss",
            medium="text",
            prompt="Continue.\n\nIt rained.",
            head=11,
            length=20,
            seed=number,
            sampling=Sampling(),
        )
        tokens = 0
        async for event in backend.generate(job, threading.Event()):
            tokens = getattr(event, "tokens_out", tokens)
        return tokens

    written = sum(await asyncio.gather(*[ask(number) for number in range(5)]))
    shown = await asyncio.to_thread(read, port)
    assert shown["pastiche_slots"] == 3
    assert shown["pastiche_slots_busy"] == 0
    assert shown["pastiche_tokens_out_total"] == written > 50
    assert shown["pastiche_queue_wait_seconds_count"] == 5
    assert shown["pastiche_first_token_seconds_count"] == 5
    assert shown["pastiche_tokens_known_total"] > 0, "the same prompt was read once"
    assert (await asyncio.to_thread(read, port))["pastiche_first_token_seconds_count"] == 5


def test_a_taken_port_is_no_error_and_a_backend_that_counts_nothing_shows_nothing(
    backend: TextBackend, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert show_metrics(backend, 1, taken.getsockname()[1]) == 0
    assert "the metrics are not shown" in caplog.text
    assert show_metrics(EchoBackend(), 1, 0) == 0
