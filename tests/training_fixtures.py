"""Fixtures of training tests; a module has them by `pytest_plugins = ["training_fixtures"]`."""

from pathlib import Path

import pytest
from training_base import make_base, make_corpus


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Gemma-2 with its tokenizer."""
    import torch

    torch.set_num_threads(1)
    return make_base(tmp_path_factory.mktemp("tiny-gemma"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with eight works of one author."""
    return make_corpus(tmp_path / "corpus", "gloom")
