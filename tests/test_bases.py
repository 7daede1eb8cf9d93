"""Bases and adapters from a hub: the real client library against a loopback one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, hub
from program import events, pastiche
from tiny_models import make_adapter, make_base, write_card

FETCH = "import sys; from engine.weights.bases import fetch; print(fetch(sys.argv[1]))"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """org/base, org/moss (an adapter), and a pickle beside the weights of both."""
    root = tmp_path_factory.mktemp("hub")
    base = make_base(root / "org" / "base", "gemma2")
    make_adapter(base, root / "org" / "moss", 1)
    for name in ("base", "moss"):
        (root / "org" / name / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return root


def fetching(spec: str, address: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """What `fetch` gives or says, with nothing of this machine's hub settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment = kept | {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", FETCH, spec],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def test_a_download_takes_safetensors_and_never_asks_for_a_pickle(repositories, tmp_path) -> None:
    with hub(repositories) as (address, asked):
        done = fetching("org/moss", address, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.name == COMMIT
    names = {p.name for p in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert not any("pytorch_model.bin" in path for path in asked)


@pytest.mark.parametrize(
    ("spec", "told"),
    [("org/base", "accept its licence"), ("org/nowhere", "could not be fetched")],
)
def test_a_gated_or_missing_repository_says_what_to_do(repositories, tmp_path, spec, told) -> None:
    with hub(repositories, gated=frozenset({"org/base"})) as (address, _):
        done = fetching(spec, address, tmp_path)
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1]


def test_a_hub_that_is_away_says_what_to_do(tmp_path) -> None:
    done = fetching("org/base", "http://127.0.0.1:9", tmp_path)
    assert "Check the name and the network" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_card_of_hub_ids_answers_over_the_whole_line(
    repositories, settings, models, tmp_path
) -> None:
    (settings.home).mkdir()
    (settings.home / "models").symlink_to(models)
    write_card(settings.home / "experts", "moss", "org/base", "org/moss")
    with hub(repositories) as (address, _):
        done = pastiche(
            "ask", "--json", "--style", "moss", "It rained.", "--length", "16",
            PASTICHE_BACKEND="model", PASTICHE_THREADS="1", HF_ENDPOINT=address,
            HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0", HF_HUB_DISABLE_XET="1",
        )  # fmt: skip
    final = events(done.stdout)[-1]
    assert final["kind"] == "finished", done.stderr
    assert final["adapter_digest"].startswith("sha256:")
