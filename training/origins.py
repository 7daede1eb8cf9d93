"""The `[source]` tables a recipe may have: where the texts come from."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OriginTable(BaseModel):
    """A strict `[source]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FolderOrigin(OriginTable):
    """A folder (or one file) of `.txt` works and `.jsonl` articles; `edition` names it publicly."""

    kind: Literal["folder"]
    path: str = ""
    edition: str = ""


class HubOrigin(OriginTable):
    """A data set on the Hugging Face hub; rows without a work column form one work."""

    kind: Literal["hub"]
    dataset: str
    revision: str = ""
    splits: tuple[str, ...] = ("train",)
    text_column: str = "text"
    work_column: str = ""


class Book(OriginTable):
    """One public-domain book and the address of its plain text or XHTML."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    url: str
    year: int = 0


class BooksOrigin(OriginTable):
    """Public-domain books fetched by address, politely."""

    kind: Literal["books"]
    books: tuple[Book, ...] = Field(min_length=1)
    seconds_between: float = Field(default=2.0, ge=0)


class GuardianOrigin(OriginTable):
    """Articles of The Guardian's Open Platform; text only under a licence."""

    kind: Literal["guardian"]
    query: str = ""
    section: str = ""
    tag: str = ""
    from_date: date | None = None
    to_date: date | None = None
    limit: int = Field(default=1000, ge=1)
    page_size: int = Field(default=200, ge=1, le=200)


Origin = FolderOrigin | HubOrigin | BooksOrigin | GuardianOrigin
