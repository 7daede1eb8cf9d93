"""The `[source]` tables a recipe may have: where the texts come from."""

from datetime import date
from typing import Literal

from pydantic import Field

from training.run.tables import Table


class OriginTable(Table):
    edition: str = ""  # the source as people know it


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


class BookList(Table):
    """List works at one address: `{work}` stands for the work, `{page}` for its pages, in order.

    `chapters` adds the pages chapter-1, chapter-2 and so on, as Standard Ebooks names them.
    """

    address: str
    works: tuple[str, ...] = Field(min_length=1)
    pages: tuple[str, ...] = ()
    chapters: int = Field(default=0, ge=0)

    def addresses(self, work: str) -> list[str]:
        """List the addresses of a work's pages in order; one nameless page when there are none."""
        pages = (*self.pages, *(f"chapter-{number + 1}" for number in range(self.chapters)))
        address = self.address.replace("{work}", work)
        return [address.replace("{page}", page) for page in pages or ("",)]


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
