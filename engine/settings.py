"""Every setting of the engine: PASTICHE_* variables first, then lines of pastiche.toml.

The file lies in the data folder (or where PASTICHE_CONFIG says). Secrets never go into it: they come
from the environment or from the 0600 key file.
"""

import difflib
import hashlib
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from engine.errors import SetupError
from engine.files import BUILT_IN

KEEP_HOURS = 72  # that words and pictures are kept
CONFIG_FILE = "pastiche.toml"
SECRETS = ("key", "text_server_key")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PASSWORD = re.compile(r"[^/]*//[^@/:]*:.*@")  # in an address
MAX_SOCKET_PATH = 100  # bytes; the systems' own limit is 104 (macOS) or 108 (Linux)


def default_home() -> Path:
    return Path(platformdirs.user_data_dir("pastiche", appauthor=False))


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PASTICHE_", frozen=True, extra="forbid")

    home: Path = Field(default_factory=default_home)  # ledger, models, experts, logs
    profile: str = "embedded"  # which weights the cards' experts load
    backend: Literal["model", "echo"] = "model"  # what generates; echo uses no model
    database_url: str = Field(default="", repr=False)  # the ledger; empty: SQLite in home
    media_folder: Path | None = None  # where pictures lie, for all of a fleet; else in home
    key_file: Path | None = None  # where the ledger's key lies
    key: SecretStr | None = None  # the key itself, 64 hex characters
    # The study that is run: its folder's name in studies; empty: none.
    study: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,31})?$")
    study_key_file: Path | None = None
    threads: int = Field(default=0, ge=0, le=256)  # of a worker; 0 takes half of the cores
    router: Literal["semantic", "rules"] = "semantic"  # rules alone, or then what is nearest
    # in one batch, one by one, or by vLLM; auto: vLLM on CUDA where there is one, else in one batch
    text_engine: Literal["auto", "mixing", "peft", "vllm"] = "auto"
    vllm_options: str = ""  # more words for `vllm serve`, such as --gpu-memory-utilization 0.7
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # in which texts are computed
    slots: int = Field(default=0, ge=0, le=256)  # texts written at a time; 0 goes by the memory
    text_server: str = ""  # an OpenAI-compatible server that writes the texts; empty: none
    text_server_key: SecretStr | None = None
    metrics_port: int = Field(default=0, ge=0, le=65000)  # of bots and workers; 0 is off
    metrics_host: str = "127.0.0.1"  # where metrics and health are shown
    pictures: Path | None = None  # where a terminal saves pictures; else in home
    picture_memory: Literal["auto", "low", "full"] = "auto"  # low is slower and takes less
    picture_precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_waiting: int = Field(default=1000, ge=1)  # jobs that the queue holds at most
    lost_after: float = Field(default=30.0, ge=1)  # seconds of a worker's silence (Postgres)
    stuck_after: float = Field(default=900.0, ge=1)  # seconds without a token or step of a worker
    leave_seconds: float = Field(default=30.0, ge=0)  # for a leaving worker's jobs (Postgres)
    terminal_hours: int = Field(default=KEEP_HOURS, ge=KEEP_HOURS)  # of the terminal's words
    max_length: int = Field(default=1200, ge=16, le=4096)  # tokens of an answer
    log_to: Literal["file", "stdout"] = "file"  # files in home, or standard output
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's own signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        arguments = init_settings() if isinstance(init_settings, InitSettingsSource) else {}
        home = arguments.get("home") or os.environ.get("PASTICHE_HOME") or default_home()
        lines = read_config(Path(home).expanduser())
        return init_settings, env_settings, InitSettingsSource(settings_cls, lines)

    def environment(self) -> dict[str, str]:
        """Write them as variables for another process of ours; the key is not among them."""
        values = self.model_dump(exclude=set(SECRETS), exclude_none=True)
        return {f"PASTICHE_{name.upper()}": str(value) for name, value in values.items()}

    @property
    def expert_roots(self) -> tuple[Path, ...]:
        """Built-in cards first; the operator's own of the same name replace them."""
        return (BUILT_IN, self.home / "experts")

    @property
    def routes_by_meaning(self) -> bool:
        return self.router == "semantic" and self.backend != "echo"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def saved_pictures(self) -> Path:
        return (self.pictures or self.home / "pictures").expanduser()

    @property
    def media(self) -> Path:
        return (self.media_folder or self.home / "media").expanduser()

    @property
    def ledger_file(self) -> Path:
        return self.home / "ledger.sqlite3"

    @property
    def runtime(self) -> Path:
        """Name a short private folder for sockets, one for each data folder."""
        name = hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:10]
        root = os.environ.get("XDG_RUNTIME_DIR")
        folder = Path(root, f"pastiche-{name}") if root and Path(root).is_dir() else None
        if folder is None or len(os.fsencode(folder)) > MAX_SOCKET_PATH - 20:
            folder = Path("/tmp", f"pastiche-{os.getuid()}-{name}")  # noqa: S108 - made private below
        return folder

    @property
    def socket(self) -> Path:
        return self.runtime / "owner.sock"


def read_config(home: Path) -> dict[str, Any]:
    named = os.environ.get("PASTICHE_CONFIG")
    path = Path(named) if named else home / CONFIG_FILE
    try:
        lines = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        if named:
            raise SetupError(f"PASTICHE_CONFIG names {path}, which does not exist.") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from error
    for name, value in lines.items():
        if mistake := _mistake(name, str(value)):
            raise SetupError(f"{path}{mistake}")
    return lines


def _mistake(name: str, value: str) -> str:
    variable = f"PASTICHE_{name.upper()}"
    if name in SECRETS:
        return f" holds the secret {name!r}. Take it out and set {variable}, or use the key file."
    if name == "database_url" and ("password=" in value or _PASSWORD.match(value)):
        return (
            f" holds the database's password. Set {variable} instead, or leave the password out "
            "there and put it into ~/.pgpass or PGPASSWORD."
        )
    if name == "home":  # it says where the file is
        return f": set {variable} instead of a line {name!r} here."
    if name in Settings.model_fields:
        return ""
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f": there is no setting {name!r}.{hint}"


def read_settings(**overrides: Any) -> Settings:
    if os.environ.get("PASTICHE_HOME") == "":
        raise SetupError("PASTICHE_HOME is set but empty. Unset it or name a folder.")
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SetupError(f"The setting {name} (PASTICHE_{name.upper()}): {first['msg']}.") from None
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


_FOREIGN = "{folder} belongs to somebody else; remove it, then start again."


def make_runtime(settings: Settings) -> None:
    folder = settings.runtime
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise SetupError(_FOREIGN.format(folder=folder))
    if stat.S_IMODE(facts.st_mode) != 0o700:
        folder.chmod(0o700)


def check_runtime(folder: Path, home: Path) -> None:
    """Allow a socket only where we, or who owns the data folder, put it. Raises SetupError."""
    facts = folder.lstat()
    ours = facts.st_uid in (os.getuid(), home.stat().st_uid)
    if not (ours and stat.S_ISDIR(facts.st_mode) and not facts.st_mode & OTHERS_WRITE):
        raise SetupError(_FOREIGN.format(folder=folder))
