"""The whole path on a tiny Gemma-2: corpus, training, evaluation, publishing, and an answer."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from stages import as_typed, next_words, stage
from training_base import AUTHORS, make_corpus, make_recipe
from training_server import Answer, serving

from engine.backends.text import TextBackend
from engine.events import Finished
from engine.plan.cards import Registry
from engine.plan.job import Job
from engine.settings import Settings
from training.run.expiry import due_of

pytest_plugins = ["training_fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

QLORA = """"fp32"
method = "qlora"
optimiser = "adamw8bit"
gradient_checkpointing = true"""


def guardian(path: Path, **changes: str) -> Path:
    """A copy of the Guardian's recipe; `changes` replace whole lines by their key."""
    shipped = Path(__file__).parent.parent / "training" / "recipes" / "newsroom-guardian.toml"
    lines = shipped.read_text().split("\n")
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines]
    path.write_text("\n".join(lines))
    return path


def answer_of(home: Path) -> str:
    """What the published expert writes through the bot's own backend."""
    registry = Registry.load([home / "experts"], "tiny")
    assert registry.problems == ()
    expert = registry.experts[0]
    job = Job(
        id="1",
        request="1",
        expert=expert.name,
        medium="text",
        prompt="The",
        head=0,
        length=16,
        seed=1,
        sampling=expert.sampling,
    )

    async def ask() -> str:
        backend = TextBackend(Settings(home=home, profile="tiny"), registry)
        async for event in backend.generate(job, threading.Event()):
            if isinstance(event, Finished):
                return event.text
        return ""

    return asyncio.run(ask())


def test_from_corpus_to_an_answer_for_lora_and_qlora(tmp_path: Path, tiny_base: Path) -> None:
    runs, home = tmp_path / "runs", tmp_path / "home"
    recipes = []
    for author in AUTHORS:
        corpus = make_corpus(tmp_path / author, author)
        precision = QLORA if author == "parlour" else '"fp32"'
        recipe = make_recipe(tmp_path / f"{author}.toml", author, precision=precision)
        base = ["--base", tiny_base, "--runs", runs]
        told = stage("corpus", recipe, "--corpus", corpus, *base, "--set", "expert.title=A title")
        assert "train: 5 works" in told
        if author == "parlour":  # one start for real: it takes as long as the rest
            told = as_typed(told)
            assert "Loads the base tiny-gemma.\n" in told and "Failed to load" not in told
        else:
            told = stage(*next_words(told))
        assert f"evaluate_text {recipe} --base {tiny_base} --runs {runs} --set 'exp" in told
        recipes.append(recipe)
    told = stage("evaluate_text", *recipes, *base, "--samples", 4, "--length", 24, "--blocks", 8)
    assert "below the nearest other expert" in told
    page = (runs / "evaluation-gloom-parlour" / "report.md").read_text()
    assert f"parlour.toml --base {tiny_base.name} --blocks 8 --samples 4 --length 24`" in page
    for part in ("Perplexity", "Style classifier", "Delta", "Memorisation", "Side by side"):
        assert part in page
    told = "\n".join(line for line in told.splitlines() if "parlour.toml" not in line)
    stage(*next_words(told), PASTICHE_HOME=str(home))
    into = ("--into", home / "experts", "--replace")
    stage("publish", recipes[0], *base, *into, "--gguf", tmp_path / "gloom.gguf")
    assert "--replace" in stage("publish", recipes[0], *base, "--into", home / "experts", status=2)
    card = home / "experts" / "gloom" / "card.toml"
    card.write_text(card.read_text().replace('"tiny-gemma"', f'"{tiny_base}"'))
    assert answer_of(home)
    record = json.loads((runs / "gloom-tiny" / "run.json").read_text())
    assert list(record["stages"]) == ["corpus", "evaluate_text", "publish", "train_text"]


def test_a_guardian_recipe_refuses_text(tmp_path: Path, tiny_base: Path) -> None:
    recipe = guardian(tmp_path / "r.toml")
    refusal = stage("corpus", recipe, "--base", tiny_base, "--runs", tmp_path, status=2)
    assert "6(g)" in refusal and "licensing@theguardian.com" in refusal


def test_a_licence_fetches_guardian_text_into_folders_with_one_hour_of_death(
    tmp_path: Path, tiny_base: Path
) -> None:
    licence = {"train_allowed": "true", "basis": '"a licence"', "licence_ref": '"X"'}
    recipe = guardian(tmp_path / "r.toml", **licence, retention_days="3e-4")
    rows = [
        {
            "id": f"a/{n}",
            "type": "article",
            "webTitle": "A",
            "webUrl": "https://example.org",
            "fields": {"headline": f"Head {n}", "bodyText": f"Invented {n} words. " * 20},
        }
        for n in range(30)
    ]
    body = json.dumps({"response": {"pageSize": 200, "orderBy": "newest", "results": rows}})
    options = [
        "--set",
        "corpus.test_share=0.3",
        "--set",
        "corpus.validation_share=0.3",
        "--base",
        str(tiny_base),
        "--runs",
        tmp_path,
    ]
    with serving({"/search": [Answer(body)]}) as stand:
        keys = {"GUARDIAN_API_KEY": "k", "GUARDIAN_ADDRESS": stand.address}
        stage("corpus", recipe, *options, **keys)
    run = tmp_path / "newsroom-guardian"
    assert due_of(run / "corpus") == pytest.approx(due_of(run / "guardian"), abs=1)
    assert "Invented" in (run / "corpus" / "train.jsonl").read_text()
    assert "Invented" not in (run / "run.json").read_text()
