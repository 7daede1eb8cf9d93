"""The samplers that prose needs: pure, each row for itself, and the same by mixing and by PEFT."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_backends import a_job, run
from tiny_models import byte_fallback, make_adapter, make_base, write_card

from engine.backends.mixing.sampler import choose, pick
from engine.backends.peft_text import PeftTextBackend
from engine.backends.row_sampler import Bans, Draw, RowSampler, dry, entries_of
from engine.backends.text import TextBackend
from engine.errors import SetupError
from engine.events import Finished
from engine.plan.cards import Registry, Sampling, load_card

ALL = Sampling(
    temperature=0.9, top_p=0.9, min_p=0.02, top_n_sigma=2.0, xtc_probability=0.5, end_gain=1.0,
    repetition_penalty=1.1, repetition_last_n=8, dry_multiplier=0.8, dry_allowed_length=1,
)  # fmt: skip
PHRASES = ("the rain", "Poirot", "a b")
TOKENIZER = byte_fallback()
WORDS = st.lists(st.integers(0, 4), max_size=40)


def slow_dry(tokens: list[int], sampling: Sampling) -> dict[int, float]:
    """The same by trying every length of every run; token 4 breaks."""
    found = {}
    for size in range(sampling.dry_allowed_length, len(tokens)):
        tail = tokens[-size:]
        for start in range(len(tokens) - size):
            run, follower = tokens[start : start + size], tokens[start + size]
            if run == tail and 4 not in (*run, follower):
                strength = sampling.dry_base ** (size - sampling.dry_allowed_length)
                found[follower] = sampling.dry_multiplier * strength
    return found


@given(WORDS, st.integers(1, 4))
def test_dry_lowers_what_would_go_on_with_the_longest_repetition(tokens, allowed) -> None:
    sampling = Sampling(dry_multiplier=0.8, dry_allowed_length=allowed)
    lowered = dry(tokens, sampling, lambda token: token == 4)
    assert lowered == pytest.approx(slow_dry(tokens, sampling))


@given(st.integers(0, 10_000), st.sampled_from(["poirot", "the rain", "rain"]))
def test_a_banned_phrase_is_never_written_whatever_is_drawn(seed, phrase) -> None:
    bans, draw, tokens = Bans(entries_of(TOKENIZER, phrase)), random.Random(seed), []
    letters = [TOKENIZER.convert_tokens_to_ids(f"<0x{ord(c):02X}>") for c in " " + phrase]
    for _ in range(80):
        barred = bans.barred(tokens)
        tokens.append(draw.choice([t for t in letters if t not in barred] or [letters[0]]))
    assert phrase not in TOKENIZER.decode(tokens)


def test_a_ban_gives_way_to_the_wish_that_names_it() -> None:
    def barred(prompt: str) -> bool:
        row = RowSampler(a_job(prompt=prompt, head=len(prompt)), TOKENIZER, (), ["Poirot"])
        return bool(row.draw(TOKENIZER("Go, P").input_ids, 0, "Go, P").banned)

    assert barred("A story about a cat.")
    assert barred("A story in the style of Poirot.")
    assert not barred("A story about Poirot and a cat.")


CHANCES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30)


@given(CHANCES, st.floats(0.01, 0.5), st.floats(0, 0.999))
def test_xtc_leaves_the_least_of_the_likely_and_all_below(raw, threshold, number) -> None:
    chances = np.sort(np.array(raw) / sum(raw))[::-1]
    sampling = Sampling(top_p=1.0, xtc_threshold=threshold)
    found = pick(chances, True, sampling, number, excluding=True)
    likely = int((chances >= threshold * chances.sum()).sum())
    assert found is not None
    assert found >= max(0, likely - 1)
    if likely < 2:
        assert found == pick(chances, True, sampling, number)


@given(st.integers(0, 1000), st.floats(0.1, 3.0), st.floats(0.2, 3.0))
def test_top_n_sigma_keeps_to_the_highest_logits_at_any_temperature(seed, sigma, heat) -> None:
    logits = torch.randn(1, 600, generator=torch.Generator().manual_seed(seed))
    floor = float(logits.max() - sigma * logits.std())
    sampling = Sampling(temperature=heat, top_p=1.0, top_n_sigma=sigma)
    (token,) = choose(logits.clone(), [Draw(sampling, random.Random(seed), ())])
    assert float(logits[0, token]) >= floor - 1e-4


def test_the_penalty_is_on_the_answers_last_tokens_and_not_on_the_prompts() -> None:
    sampling = Sampling(repetition_penalty=1.1, repetition_last_n=3)
    row = RowSampler(a_job(sampling=sampling), TOKENIZER)
    assert list(row.draw([5, 6], 2, "").said) == []
    assert list(row.draw([5, 6, 7, 8, 9, 10], 2, "").said) == [8, 9, 10]
    whole = RowSampler(a_job(sampling=replace(sampling, repetition_last_n=0)), TOKENIZER)
    assert list(whole.draw([5, 6, 7, 8, 9, 10], 2, "").said) == [7, 8, 9, 10]


def test_rows_of_a_batch_never_influence_each_other() -> None:
    logits = torch.randn(12, 256, generator=torch.Generator().manual_seed(1)) * 3
    said = [[(row * 7 + n * (row % 3)) % 256 for n in range(20)] for row in range(12)]

    def draws() -> list[Draw]:
        mixed = [ALL, Sampling(), replace(ALL, temperature=0.0), Sampling(top_n_sigma=1.0)]
        jobs = [a_job(sampling=mixed[n % 4], seed=n) for n in range(12)]
        rows = [RowSampler(job, TOKENIZER, (1,), PHRASES) for job in jobs]
        return [row.draw(said[n], 5, "") for n, row in enumerate(rows)]

    together = choose(logits.clone(), draws())
    assert together == [
        choose(logits[n : n + 1].clone(), [draw])[0] for n, draw in enumerate(draws())
    ]
    assert len(set(together)) > 6


def test_no_closing_quotation_mark_comes_where_none_is_open() -> None:
    row = RowSampler(a_job(prompt="“Go,", head=0), TOKENIZER)
    halves = TOKENIZER("he said. ”").input_ids
    assert halves[-1] not in row.draw(halves[:-1], 0, "").banned, "the beginning opened one"
    assert halves[-1] in row.draw(halves[:-1], 0, "” he said. ").banned


def test_ends_of_sentences_gain_once_an_answer_is_near_its_length() -> None:
    row = RowSampler(a_job(length=20), TOKENIZER)
    (stop,) = TOKENIZER(".").input_ids
    gains = [
        row.draw(list(range(5, 5 + n)), 0, "").lowered.get(stop, 0.0) for n in (18, 19, 30, 90)
    ]
    assert gains == [0.0, -0.25, -3.0, -6.0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    make_adapter(make_base(root / "llama", "llama"), root / "llama-moss", seed=1)
    return root


async def test_pefts_path_writes_what_mixing_writes_token_for_token(tiny, settings) -> None:
    root = settings.home / "experts"
    card = write_card(root, "moss", tiny / "llama", tiny / "llama-moss") / "card.toml"
    card.write_text('bans = ["ou", "e a"]\n' + card.read_text())
    registry = Registry.load([root], "embedded")
    chosen = settings.model_copy(update={"threads": 1, "precision": "fp32"})
    written: list[list[tuple[str, int]]] = []
    for backend in (TextBackend(chosen, registry), PeftTextBackend(chosen, registry)):
        heats = (0.0, 0.7, 0.9, 1.2)
        jobs = [a_job(sampling=replace(ALL, temperature=heat), seed=4) for heat in heats]
        finals = [(await run(backend, job))[-1] for job in jobs]
        written.append([(f.text, f.tokens_out) for f in finals if isinstance(f, Finished)])
    assert written[0] == written[1]
    assert len(written[0]) == 4 and all(tokens > 20 for _, tokens in written[0])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[sampling]\ndry_multiplier = -1", "sampling.dry_multiplier: Input should be greater"),
        ("[sampling]\nxtc_threshold = 0.7", "sampling.xtc_threshold: Input should be less"),
        ("[sampling]\ndry_penalty = 1", "sampling.dry_penalty: Unexpected"),
        ('[template]\ntext = "{beginning}"\n[sampling]\nrepetition_last_n = 1.5', "repetition_last_n"),
    ],
)  # fmt: skip
def test_a_card_with_a_wrong_sampling_key_says_which(tmp_path, line, told) -> None:
    folder = write_card(tmp_path, "moss", "base")
    card = folder / "card.toml"
    card.write_text(card.read_text() + line + "\n")
    with pytest.raises(SetupError, match="is not right") as caught:
        load_card(folder)
    assert told in str(caught.value)
