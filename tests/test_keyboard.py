"""The language that a terminal speaks."""

import pytest

from bot.terminal_client.session import terminal_asker


def test_a_terminal_speaks_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert terminal_asker().locale == "en"
    monkeypatch.setenv("LANG", "it_IT.UTF-8")
    assert terminal_asker().locale == "it"
