"""The `[source]` tables a recipe may have: where the texts come from."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OriginTable(BaseModel):
    """Check a `[source]` table strictly; `edition` names the source as people know it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edition: str = ""


class FolderOrigin(OriginTable):
    kind: Literal["folder"]
    path: str = ""


class HubOrigin(OriginTable):
    """Take a data set on the Hugging Face hub; rows without a work column form one work."""

    kind: Literal["hub"]
    dataset: str
    revision: str = ""
    splits: tuple[str, ...] = ("train",)
    text_column: str = "text"
    work_column: str = ""


class BookList(BaseModel):
    """List works at one address: `{work}` stands for the work, `{page}` for its pages, in order.

    `chapters` adds the pages chapter-1, chapter-2 and so on, as Standard Ebooks names them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    works: tuple[str, ...] = Field(min_length=1)
    pages: tuple[str, ...] = ()
    chapters: int = Field(default=0, ge=0)

    @property
    def all_pages(self) -> tuple[str, ...]:
        """List a work's pages in order; one nameless page when there are none."""
        chapters = tuple(f"chapter-{number}" for number in range(1, self.chapters + 1))
        return (*self.pages, *chapters) or ("",)


class BooksOrigin(OriginTable):
    kind: Literal["books"]
    shelves: tuple[BookList, ...] = Field(min_length=1)
    seconds_between: float = Field(default=1.0, ge=0)


class TablesOrigin(OriginTable):
    """Take CSV tables, an article a row; paragraphs that fit `leave_out` are dropped."""

    kind: Literal["tables"]
    addresses: tuple[str, ...] = Field(min_length=1)
    id_column: str = "url"
    title_column: str = "title"
    text_column: str = "text"
    leave_out: tuple[str, ...] = ()
    seconds_between: float = Field(default=1.0, ge=0)


class GuardianOrigin(OriginTable):
    kind: Literal["guardian"]
    query: str = ""
    section: str = ""
    tag: str = ""
    from_date: date | None = None
    to_date: date | None = None
    limit: int = Field(default=1000, ge=1)
    page_size: int = Field(default=200, ge=1, le=200)


Origin = FolderOrigin | HubOrigin | BooksOrigin | TablesOrigin | GuardianOrigin
