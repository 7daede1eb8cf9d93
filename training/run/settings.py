"""What training takes from the environment: keys, and where The Guardian is asked."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from training.sources.guardian_api import ADDRESS


class TrainingSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True)

    guardian_api_key: SecretStr | None = Field(default=None, description="GUARDIAN_API_KEY")
    guardian_address: str = Field(default=ADDRESS, description="GUARDIAN_ADDRESS, for tests")
    openai_api_key: SecretStr | None = Field(
        default=None, description="OPENAI_API_KEY, sent to OpenAI alone"
    )
    caption_api_key: SecretStr | None = Field(
        default=None, description="CAPTION_API_KEY, for another server named in [caption] address"
    )
