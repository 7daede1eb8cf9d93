"""What the asker sees."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.messages.draft import Draft, fold
from bot.messages.wording import footer, help_text, progress, queue, styles, why
from engine.events import Cancelled, Event, Failed, Finished, Loading, Queued, Started, Text
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Answer, Job, Request, Status, Waiting
from engine.plan.router import route

attempts = st.integers(1, 3)
finals = st.builds(
    Finished,
    job=st.just("j"),
    attempt=attempts,
    text=st.text(max_size=9),
    tokens_in=st.just(1),
    tokens_out=st.just(1),
    first_token_seconds=st.just(0.0),
    seconds=st.just(1.0),
) | st.builds(Cancelled, job=st.just("j"), attempt=attempts, text=st.text(max_size=9))
events: st.SearchStrategy[Event] = (
    st.builds(Queued, job=st.just("j"), position=st.integers(0, 9))
    | st.builds(Loading, job=st.just("j"), attempt=attempts, what=st.just("the model"))
    | st.builds(Started, job=st.just("j"), attempt=attempts)
    | st.builds(Text, job=st.just("j"), attempt=attempts, text=st.text(max_size=9), tokens=attempts)
)


@given(st.lists(events, max_size=12), finals)
def test_the_final_event_of_the_last_attempt_is_what_stands(earlier, final) -> None:
    draft = Draft()
    for event in earlier:
        draft = fold(draft, event)
        assert progress(draft)
    if final.attempt >= draft.attempt:
        assert fold(draft, final).text == final.text
        assert fold(draft, final).final == final


def test_an_earlier_attempt_changes_nothing_any_more() -> None:
    draft = fold(Draft(), Started(job="j", attempt=2))
    assert fold(draft, Text(job="j", attempt=1, text="stale", tokens=1)) == draft


def test_a_failed_job_ends_the_draft() -> None:
    assert fold(Draft(), Failed(job="j", attempt=1, message="no")).stage == "failed"


def _answer(registry: Registry, text: str) -> Answer:
    chosen = route("story", text, None, registry)
    request = Request(command="story", text=text, platform="t", asker="a", place="p")
    job = Job(
        id="j",
        request="r",
        expert=chosen.expert,
        medium="text",
        prompt="p",
        head=0,
        length=20,
        seed=7,
        sampling=Sampling(),
    )
    return Answer(
        request=request, request_id="r", job=job, route=chosen, state="finished", text="t"
    )


def test_why_tells_rule_words_and_runners_up(registry: Registry) -> None:
    told = why(
        _answer(registry, "a short mystery story in the style of lovecraft: It rained."), registry
    )
    assert "H. P. Lovecraft answered" in told
    assert "“in the style of lovecraft” (at character 23)" in told
    assert "Agatha Christie could have answered; words for it: “mystery”" in told
    assert told.count("could have answered") == 1, "nobody whom no word calls"
    assert "Seed 7" in told


def test_the_footer_says_that_a_machine_wrote_and_when_the_adapter_is_missing(registry) -> None:
    answer = _answer(registry, "It rained.")
    final = Finished(
        job="j",
        attempt=1,
        text="t",
        tokens_in=1,
        tokens_out=50,
        first_token_seconds=0.1,
        seconds=5.0,
    )
    expert = registry.experts[0]
    said = footer(final, expert, answer.route, registry.weights(expert))
    assert said.startswith("AI-generated")
    assert "10 tokens/s" in said
    assert "base model, no adapter yet" in said
    served = replace(final, adapter_digest="server:lovecraft")
    assert "no adapter" not in footer(served, expert, answer.route, registry.weights(expert))


def test_help_and_styles_are_made_from_the_cards(registry: Registry) -> None:
    for expert in registry.experts:
        assert expert.title in styles(registry)
        assert expert.title in help_text(registry, expert.command)
    assert "6 styles; /styles" in help_text(registry)
    assert "a picture in the manner of a museum" in help_text(registry)
    assert "/jewel TESTO           un'immagine alla maniera" in help_text(registry, "", "", "it")
    assert "--seed" in help_text(registry, "story")
    assert "no “/nonsense”" in help_text(registry, "nonsense")
    assert len(help_text(registry, "", "discord")) < 1950  # one message


def test_the_queue_names_nobody() -> None:
    waiting = (Waiting(job="j", medium="text", expert="agatha", state="running", seconds=3.0),)
    assert queue(Status(owner=1, waiting=(), workers={})) == "Nothing is waiting."
    assert queue(Status(owner=1, waiting=waiting, workers={})).endswith(
        "1. agatha, running for 3.0 s"
    )
