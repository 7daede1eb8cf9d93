"""CSV tables of articles by address, one article a row."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from training.errors import SourceFault
from training.sources.origins import TablesOrigin
from training.text.data.cleaning import paragraphs_of
from training.text.data.works import Work
from training.web.http_client import Journal


@dataclass
class TablesSource:
    origin: TablesOrigin
    licence: str
    journal: Journal

    def works(self) -> Iterator[Work]:
        for address in self.origin.addresses:
            body = self.journal.body(address)
            try:
                yield from self.articles(address, body.decode("utf-8-sig"))
            except (UnicodeDecodeError, csv.Error) as error:
                raise SourceFault(
                    f"{address} is not a CSV table in UTF-8, or was cut short ({error}). Delete "
                    f"{self.journal.copy(address)} to fetch it again, or give the texts yourself with "
                    "--corpus DIR."
                ) from error

    def articles(self, address: str, text: str) -> Iterator[Work]:
        rows = csv.DictReader(io.StringIO(text))
        columns = (self.origin.id_column, self.origin.title_column, self.origin.text_column)
        missing = set(columns) - set(rows.fieldnames or ())
        if missing:
            raise SourceFault(
                f"{address} has no column {', '.join(sorted(missing))}; it has "
                f"{', '.join(rows.fieldnames or ())}. Name the columns in [source]."
            )
        for row in rows:
            name, title, body = (row[column] or "" for column in columns)
            left_out = self.origin.leave_out
            kept = [
                p for p in paragraphs_of(body) if not any(re.search(out, p) for out in left_out)
            ]
            yield Work(
                id=name,
                title=title,
                paragraphs=(*paragraphs_of(title), *kept),
                source=self.origin.edition or "table",
                licence=self.licence,
            )
