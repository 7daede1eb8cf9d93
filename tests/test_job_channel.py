"""One job between the model's thread and the event loop."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_backends import a_job

from engine.backends.job_channel import JobChannel
from engine.errors import ModelError
from engine.events import Cancelled, Event, Started, Text


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool


def text(words: str) -> Text:
    return Text(job="j", attempt=1, text=words, tokens=1)


async def test_what_the_models_thread_raises_is_raised_where_the_events_are_read(thread) -> None:
    channel = JobChannel(a_job(), threading.Event())
    heard: list[Event] = []

    def work() -> None:
        channel.send(Started(job="j", attempt=1))
        raise ModelError("no base")

    with pytest.raises(ModelError, match="no base"):
        async for event in channel.events(thread, work):
            heard.append(event)
    assert [event.kind for event in heard] == ["started"]


async def test_after_a_stop_no_text_is_shown_and_after_the_last_event_nothing(thread) -> None:
    stop = threading.Event()
    channel = JobChannel(a_job(), stop)

    def work() -> None:
        stop.set()
        for event in (text("late"), Cancelled(job="j", attempt=1), text("later")):
            channel.send(event)

    assert [event.kind async for event in channel.events(thread, work)] == ["cancelled"]
    assert channel.done


async def test_who_stops_listening_stops_the_job(thread) -> None:
    channel = JobChannel(a_job(), threading.Event())
    events = channel.events(thread, lambda: channel.send(text("It")))
    await anext(events)
    assert not channel.stopped()
    await events.aclose()
    assert channel.stopped()
