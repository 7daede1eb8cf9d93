"""Keys, sealing and lookup."""

import secrets
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import LedgerError, SetupError
from engine.ledger.keys import load_key
from engine.vault import Vault

VAULT = Vault(secrets.token_bytes(32))


@given(st.text(max_size=200))
def test_what_is_sealed_opens_and_shows_nothing(text: str) -> None:
    sealed = VAULT.seal(text, "requests.typed")
    assert VAULT.open(sealed, "requests.typed") == text
    assert sealed != VAULT.seal(text, "requests.typed"), "a fresh nonce every time"
    assert len(text) < 4 or text.encode() not in sealed


def test_another_key_column_or_byte_does_not_open() -> None:
    sealed = VAULT.seal("They sat alone.", "requests.typed")
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for vault, value, column in (
        (Vault(secrets.token_bytes(32)), sealed, "requests.typed"),
        (VAULT, sealed, "outputs.text"),
        (VAULT, changed, "requests.typed"),
        (VAULT, b"", "requests.typed"),
    ):
        with pytest.raises(LedgerError, match="does not open"):
            vault.open(value, column)


def test_lookup_is_keyed_and_tells_platforms_apart() -> None:
    assert VAULT.lookup("discord", "7") == VAULT.lookup("discord", "7")
    assert VAULT.lookup("discord", "7") != VAULT.lookup("telegram", "7")
    assert VAULT.lookup("discord", "7") != Vault(secrets.token_bytes(32)).lookup("discord", "7")


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k.key"
    key = load_key(path, may_create=True)
    assert load_key(path, may_create=False) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_key_that_systemd_hands_over_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pastiche_key"
    path.write_text("ab" * 32)
    path.chmod(0o440)  # so an access list for the service shows
    with pytest.raises(SetupError, match="Others can read"):
        load_key(path, may_create=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_key(path, may_create=False) == b"\xab" * 32


def test_a_missing_open_or_broken_key_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    with pytest.raises(SetupError, match="backup"):
        load_key(path, may_create=False)
    path.write_text("ab" * 32)
    path.chmod(0o644)
    with pytest.raises(SetupError, match="chmod 600"):
        load_key(path, may_create=False)
    path.chmod(0o600)
    path.write_text("not hex")
    with pytest.raises(SetupError, match="64 hex"):
        load_key(path, may_create=False)
