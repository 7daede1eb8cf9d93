"""The worker as a process, over the wire, on the real embedded base."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from program import events, pastiche, start, stop, wait_for

from engine.backends.stop_rules import latest
from engine.settings import Settings
from engine.weights import bases, conversion

OPENING = "They sat alone in the darkened room as rain hammered against the old windowpanes."


@pytest.fixture
def real(models: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data folder with the base in it, and the model backend."""
    settings.home.mkdir()
    (settings.home / "models").symlink_to(models)
    monkeypatch.setenv("PASTICHE_BACKEND", "model")
    monkeypatch.setenv("PASTICHE_THREADS", "1")
    return settings


@pytest.mark.slow
def test_a_story_in_each_style_grows_token_by_token_and_is_repeatable_by_seed(
    real: Settings,
) -> None:
    said = {}
    owner = start("chat")  # its worker loads the base once for all of them
    try:
        wait_for(real.socket)
        for style in ("lovecraft", "agatha", "lovecraft"):
            wish = f"in the style of {style}: {OPENING}"
            done = pastiche("ask", "--json", wish, "--length", "16", "--seed", "3", timeout=180)
            assert done.returncode == 0, done.stderr
            told = events(done.stdout)
            texts = [event["text"] for event in told if event["kind"] == "text"]
            assert len(texts) > 3
            final = told[-1]
            assert final["kind"] == "finished"
            assert 14 <= final["tokens_out"] <= latest(16)
            assert final["base_digest"].startswith("sha256:")
            assert said.setdefault(style, final["text"]) == final["text"]
    finally:
        stop(owner)
    with sqlite3.connect(real.ledger_file) as connection:
        rows = connection.execute(
            "select expert, tokens_out > 0, first_token_at >= started_at, finished_at > started_at "
            "from jobs order by id"
        ).fetchall()
    assert rows == [("lovecraft", 1, 1, 1), ("agatha", 1, 1, 1), ("lovecraft", 1, 1, 1)]


@pytest.mark.slow
def test_a_missing_base_fails_the_job_with_what_to_do(settings: Settings) -> None:
    code = (
        "import asyncio\n"
        "from engine.process.bootstrap import open_engine\n"
        "from engine.plan.job import Request\n"
        "from engine.settings import read_settings\n"
        "async def main():\n"
        "    async with open_engine(read_settings()) as engine:\n"
        "        r = Request(command='story', text='x', platform='t', asker='a', place='p')\n"
        "        plan = engine.plan(r)\n"
        "        await engine.ask(plan)\n"
        "        async for event in engine.follow(plan.job.id):\n"
        "            print(event.kind, getattr(event, 'reason', ''))\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PASTICHE_BACKEND": "model"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, env=environment, check=False
    )
    last = done.stdout.decode().splitlines()[-1]
    assert last == (
        "failed The base smollm2-135m-instruct is missing or damaged. Run: pastiche prepare"
    )


@pytest.mark.slow
def test_a_damaged_base_is_converted_anew(real: Settings, models: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "smollm2-135m-instruct"
    broken.mkdir(parents=True)
    for file in (models / "smollm2-135m-instruct").iterdir():
        data = file.read_bytes()
        (broken / file.name).write_bytes(data[:1000] if file.suffix == ".safetensors" else data)
    (real.home / "models").unlink()
    (real.home / "models").symlink_to(broken.parent)
    assert "smollm2-135m-instruct (missing)" in pastiche("experts", COLUMNS="200").stdout.decode()
    done = pastiche("ask", "It rained.", "--length", "16", timeout=180)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_converted_base_equals_the_gguf_file(models: Path) -> None:
    import gguf
    import torch
    from safetensors.torch import load_file

    weights = load_file(models / "smollm2-135m-instruct" / "model.safetensors")
    (source,) = conversion.source_files(bases.EMBEDDED["smollm2-135m-instruct"])
    named = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.7.ffn_down.weight": "model.layers.7.mlp.down_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
    }
    found = 0
    for tensor in gguf.GGUFReader(source).tensors:
        if tensor.name in named:
            there = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
            assert torch.equal(there.bfloat16(), weights[named[tensor.name]])
            found += 1
    assert found == len(named)
    facts = json.loads((models / "smollm2-135m-instruct" / bases.MANIFEST).read_text())
    assert facts["licence"] == "Apache-2.0"
