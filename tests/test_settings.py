"""Settings, their file, and the logs' last net."""

import json
import logging
import re

import pytest
from pydantic import SecretStr

from bot.settings import check_names
from engine.errors import SetupError
from engine.monitor.logs import start_logs
from engine.settings import Settings, make_runtime, read_settings
from engine.workers.supervisor import environment


def test_a_variable_comes_before_the_files_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "pastiche.toml").write_text("max_waiting = 5\nmax_length = 300\n")
    monkeypatch.setenv("PASTICHE_MAX_WAITING", "7")
    settings = read_settings()
    assert (settings.max_waiting, settings.max_length) == (7, 300)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('key = "00"', "secret 'key'"),
        ('database_url = "postgresql+psycopg://u:p/w@h/d"', "database's password"),
        ('database_url = "postgresql+psycopg://u@h/d?password=p"', "database's password"),
        ('home = "/x"', "PASTICHE_HOME instead"),
        ("max_lenght = 5", "Did you mean 'max_length'"),
        ("max_length = 0", "max_length"),
        ("max_length = ", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path, line, told) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "pastiche.toml").write_text(line)
    with pytest.raises(SetupError, match=told):
        read_settings()


def test_a_bad_variable_is_told_without_its_value(monkeypatch) -> None:
    monkeypatch.setenv("PASTICHE_THREADS", "secret-by-mistake")
    with pytest.raises(SetupError, match="PASTICHE_THREADS") as told:
        read_settings()
    assert "secret-by-mistake" not in str(told.value)


def test_int8_which_is_gone_is_refused_with_what_there_is(monkeypatch) -> None:
    monkeypatch.setenv("PASTICHE_PRECISION", "int8")
    with pytest.raises(SetupError, match=r"PRECISION\): Input should be 'auto', 'fp32' or 'bf16'"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("PASTICHE_MEDIA_URL", "PASTICHE_MEDIA_FOLDER, a folder that all machines share"),
        ("TELEGRAM_WEBHOOK_URL", "Take it out: Telegram is polled"),
    ],
)
def test_a_variable_that_is_gone_is_refused_with_what_there_is(name: str, instead: str) -> None:
    with pytest.raises(SetupError, match=f"{name} is gone. .*{instead}"):
        check_names([name])


def test_the_key_never_shows(monkeypatch) -> None:
    monkeypatch.setenv("PASTICHE_KEY", "ab" * 32)
    monkeypatch.setenv("PASTICHE_DATABASE_URL", "postgresql+psycopg://u:s3cret@h/d")
    assert not {"abab", "s3cret"} & set(re.findall("abab|s3cret", repr(read_settings())))


def test_a_socket_path_is_short_even_for_a_deep_folder(tmp_path) -> None:
    settings = read_settings(home=tmp_path / ("deep" * 50))
    assert len(str(settings.socket)) < 100


def test_the_socket_folder_is_private(settings) -> None:
    make_runtime(settings)
    assert settings.runtime.stat().st_mode & 0o777 == 0o700


def test_logs_are_json_lines_without_secrets(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2hunter2")
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    try:
        start_logs(tmp_path, "test", "INFO")
        told = "GET https://api/bot123456789:AAaaAAaaAAaaAAaaAAaaAAaaAAaaAAaaAAa/x hunter2hunter2"
        try:
            raise ValueError(told)
        except ValueError:
            logging.getLogger("x").exception("it said %s", told, extra={"job": "01"})
        for handler in root.handlers:
            handler.close()
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
    path = tmp_path / "logs" / "test.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    raw = path.read_text()
    line = json.loads(raw)
    assert line["job"] == "01"
    assert "ValueError" in line["traceback"]
    assert "hunter2" not in raw and "AAaa" not in raw


@pytest.mark.parametrize(
    "secret",
    ["DISCORD_TOKEN", "PGPASSWORD", "POSTGRES_PASSWORD", "PGPASSFILE",
     "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "PASTICHE_KEY", "PASTICHE_DATABASE_URL",
     "CREDENTIALS_DIRECTORY", "HOMEBREW_GITHUB_API_TOKEN", "SOMETHING_NEW_TOKEN"],
)  # fmt: skip
@pytest.mark.parametrize("medium", ["text", "image"])
def test_a_worker_is_given_what_it_needs_and_no_secret(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, secret: str, medium: str
) -> None:
    needed = (
        "PATH", "PYTHONPATH", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_CACHE", "CC",
        "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "https_proxy",
    )  # fmt: skip
    for name in (secret, *needed):
        monkeypatch.setenv(name, "set")
    given = environment(settings, medium)
    assert {given.get(name) for name in needed} == {"set"}
    assert secret not in given


def test_only_the_text_worker_is_given_the_text_servers_key(settings: Settings) -> None:
    settings = settings.model_copy(update={"text_server_key": SecretStr("s3cret")})
    assert environment(settings, "text")["PASTICHE_TEXT_SERVER_KEY"] == "s3cret"
    assert "s3cret" not in environment(settings, "image").values()
