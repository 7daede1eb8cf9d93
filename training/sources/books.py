"""Public-domain books by address (Standard Ebooks, Project Gutenberg)."""

from collections.abc import Iterator
from dataclasses import dataclass

from training.errors import SourceFault
from training.sources.origins import BooksOrigin
from training.text.data.cleaning import paragraphs_of
from training.text.data.markup import text_of
from training.text.data.works import Work
from training.web.http_client import Journal


@dataclass
class BooksSource:
    origin: BooksOrigin
    licence: str
    journal: Journal

    def works(self) -> Iterator[Work]:
        for shelf in self.origin.shelves:
            for name in shelf.works:
                pages = [self.page(address) for address in shelf.addresses(name)]
                paragraphs = tuple(paragraph for page in pages for paragraph in page)
                yield Work(
                    id=name,
                    title=paragraphs[0][:80],
                    paragraphs=paragraphs,
                    source=self.origin.edition or shelf.address,
                    licence=self.licence,
                )

    def page(self, address: str) -> tuple[str, ...]:
        body = self.journal.body(address)
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
