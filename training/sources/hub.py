"""A data set on the Hugging Face hub, read with `datasets`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from training.errors import SourceFault
from training.sources.origins import HubOrigin
from training.text.data.cleaning import paragraphs_of
from training.text.data.works import Work


@dataclass
class HubSource:
    """Join consecutive rows of one work, or of a split; `raw` rows stay as they are."""

    origin: HubOrigin
    licence: str
    raw: bool = False
    cache: Path | None = None

    def works(self) -> Iterator[Work]:
        for split in self.origin.splits:
            rows = self.rows(split)
            wanted = {self.origin.text_column, self.origin.work_column} - {""}
            if missing := wanted - set(rows.column_names):
                raise SourceFault(
                    f"{self.origin.dataset} has no column {', '.join(sorted(missing))}; it has "
                    f"{', '.join(rows.column_names)}. The data set may have changed: name its "
                    "columns in [source], or pin the revision you know."
                )
            column, whole = self.origin.work_column, f"{self.origin.dataset}:{split}"
            groups = groupby(rows, key=lambda row: str(row[column]) if column else whole)
            for name, group in groups:
                texts = [str(row[self.origin.text_column] or "") for row in group]
                yield Work(
                    id=name,
                    title=name,
                    paragraphs=tuple(texts) if self.raw else paragraphs_of("\n\n".join(texts)),
                    source=f"{self.origin.dataset}@{self.origin.revision or 'main'}",
                    licence=self.licence,
                )

    def rows(self, split: str) -> Any:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

        try:
            return load_dataset(
                self.origin.dataset,
                split=split,
                cache_dir=str(self.cache) if self.cache else None,
                revision=self.origin.revision or None,
            )
        except (OSError, ValueError, RuntimeError, DatasetsError) as error:
            raise SourceFault(
                f"The data set {self.origin.dataset} (revision "
                f"{self.origin.revision or 'main'}, split {split}) could not be read: {error}\n"
                "Check the name, log in with `hf auth login` if it is gated, name a revision that "
                "still exists, or give the texts yourself with --corpus DIR. A file that was cut "
                "short must be fetched again: delete it, or its copy in the hub's cache, first."
            ) from error
