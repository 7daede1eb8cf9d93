"""Public-domain books by address (Standard Ebooks, Project Gutenberg)."""

from collections.abc import Iterator
from dataclasses import dataclass

from training.errors import SourceFault
from training.sources.origins import BookList, BooksOrigin
from training.text.data.cleaning import paragraphs_of
from training.text.data.markup import text_of
from training.text.data.works import Work
from training.web.http_client import PoliteClient
from training.web.journal import Journal


@dataclass
class BooksSource:
    origin: BooksOrigin
    licence: str
    client: PoliteClient
    journal: Journal

    def works(self) -> Iterator[Work]:
        for shelf in self.origin.shelves:
            for name in shelf.works:
                yield self.work(shelf, name)

    def work(self, shelf: BookList, name: str) -> Work:
        paragraphs: list[str] = []
        for page in shelf.all_pages:
            address = shelf.address.replace("{work}", name).replace("{page}", page)
            paragraphs += self.page(address)
        return Work(
            id=name,
            title=paragraphs[0][:80],
            paragraphs=tuple(paragraphs),
            source=self.origin.edition or shelf.address,
            licence=self.licence,
        )

    def page(self, address: str) -> tuple[str, ...]:
        body = self.journal.body(address, self.client.body)
        try:
            paragraphs = paragraphs_of(text_of(body.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            raise SourceFault(
                f"{address} is not UTF-8. Name its UTF-8 edition in the recipe (on Gutenberg the "
                "address ends in -0.txt or .txt.utf-8)."
            ) from error
        if not paragraphs:
            raise SourceFault(f"{address} holds no text. Check the address in the recipe.")
        return paragraphs
