"""The platforms' own settings, from the environment only; tokens never show in a repr."""

import difflib
import os
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from engine.chat.quotas import Bucket
from engine.errors import SetupError
from engine.settings import Settings

GONE = {  # settings of older versions, and what to do without them
    "DISCORD_SHARDS": "Take it out: one connection hears all servers, up to Discord's limit of 2,500.",
    "PASTICHE_MEDIA_URL": "Set PASTICHE_MEDIA_FOLDER, a folder that all machines share.",
    "PASTICHE_PICTURE_COMPILE": "Take it out: compiling a UNet was not seen to end.",
    "PASTICHE_UNSERVED": "Take it out: what no worker can do waits for one.",
    "TELEGRAM_WEBHOOK_URL": "Take it out: Telegram is polled.",
}


class PlatformSettings(BaseSettings):
    """Read once in `main`, passed down. A burst of 0 means no limit."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    # read from the variables of the same names, in capitals
    discord_token: SecretStr | None = None
    discord_api_base: str = ""
    discord_gateway_url: str = ""
    telegram_token: SecretStr | None = None
    telegram_api_base: str = ""
    message_content: bool = False
    operators: Annotated[frozenset[str], NoDecode] = frozenset()

    contact: str = Field(default="", validation_alias="PASTICHE_CONTACT")
    image_check: str = Field(default="", validation_alias="PASTICHE_IMAGE_CHECK")
    asker_burst: float = Field(default=30, ge=0, validation_alias="PASTICHE_ASKER_BURST")
    asker_hourly: float = Field(default=60, gt=0, validation_alias="PASTICHE_ASKER_HOURLY")
    place_burst: float = Field(default=120, ge=0, validation_alias="PASTICHE_PLACE_BURST")
    place_hourly: float = Field(default=300, gt=0, validation_alias="PASTICHE_PLACE_HOURLY")
    asker_waiting: int = Field(default=4, ge=0, validation_alias="PASTICHE_ASKER_WAITING")
    reports_to_hide: int = Field(default=2, ge=0, validation_alias="PASTICHE_REPORTS_TO_HIDE")
    picture_cost: float = Field(default=5, ge=0, validation_alias="PASTICHE_PICTURE_COST")

    drain_seconds: float = Field(default=15, ge=0, validation_alias="PASTICHE_DRAIN_SECONDS")

    @field_validator("operators", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = frozenset(value.replace(",", " ").split())
        if any(name.partition(":")[0] not in ("discord", "telegram") for name in names):
            raise ValueError("write each operator as discord:ID or telegram:ID")
        return names

    @property
    def asker_bucket(self) -> Bucket:
        return Bucket(burst=self.asker_burst, hourly=self.asker_hourly)

    @property
    def place_bucket(self) -> Bucket:
        return Bucket(burst=self.place_burst, hourly=self.place_hourly)


def check_names(names: Iterable[str] = os.environ) -> None:
    """Raise SetupError for a variable that was one of ours, or nearly is: nobody would read it.

    >>> check_names(["PASTICHE_THREADS", "PASTICHE_TAG", "HOME"])
    """
    ours = {f"PASTICHE_{name.upper()}" for name in Settings.model_fields} | {"PASTICHE_CONFIG"}
    ours |= {str(field.validation_alias) for field in PlatformSettings.model_fields.values()}
    for name in names:
        if name in GONE:
            raise SetupError(f"The setting {name} is gone. {GONE[name]}")
        if name.startswith("PASTICHE_") and name not in ours:
            near = difflib.get_close_matches(name, ours, n=1, cutoff=0.88)
            if near:
                raise SetupError(f"There is no setting {name}. Did you mean {near[0]}?")


def read_platform_settings() -> PlatformSettings:
    try:
        return PlatformSettings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]).upper()
        what = first["msg"].removeprefix("Value error, ")
        raise SetupError(f"The setting {name}: {what}.") from None


def terminal_settings() -> PlatformSettings:
    """Read them for a terminal, where only those limits hold that somebody has set."""
    read = read_platform_settings()
    unset = {"asker_burst", "place_burst", "asker_waiting"} - read.model_fields_set
    return read.model_copy(update=dict.fromkeys(unset, 0))
