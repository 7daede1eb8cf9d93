"""Where texts come from: one small interface, one file a source."""

from collections.abc import Iterator
from typing import Protocol

from training.text.data.works import Work


class Source(Protocol):
    """Give the works of a corpus, one after the other, in a stable order."""

    def works(self) -> Iterator[Work]:
        """Yield every work; raises SourceFault or BadCorpus with what to do next."""
        ...
