"""A folder (or one file) of `.txt` works and of `.jsonl` articles or answers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from training.errors import BadCorpus
from training.run.json_lines import read_words
from training.text.data.cleaning import paragraphs_of
from training.text.data.works import Work

KINDS = (".txt", ".jsonl")
NOT_MARKS = ("id", "work", "title", "text", "prompt", "answer", "source", "licence")


@dataclass
class FolderSource:
    path: Path
    edition: str
    licence: str
    files: tuple[str, ...] = ()

    def works(self) -> Iterator[Work]:
        """Yield files in name order; an article a line in a `.jsonl`, a work a `.txt`."""
        found = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        for path in found:
            fits = any(fnmatch(path.name, pattern) for pattern in self.files or ("*",))
            if path.suffix.lower() not in KINDS or not fits:
                continue
            text = read_words(path)
            if "\x00" in text:
                raise BadCorpus(
                    f"{path.name} is not a text file. Take it out of the corpus folder."
                )
            if path.suffix.lower() == ".jsonl":
                yield from self.articles(path, text)
            else:
                yield self.story(path, text)

    def story(self, path: Path, text: str) -> Work:
        """Read a whole file as one work; its first paragraph stands as title."""
        paragraphs = paragraphs_of(text)
        return Work(
            id=path.stem,
            title=paragraphs[0][:80] if paragraphs else path.stem,
            paragraphs=paragraphs,
            source=self.edition,
            licence=self.licence,
        )

    def articles(self, path: Path, text: str) -> Iterator[Work]:
        """Read the lines of a `.jsonl`: each an object with `text`, perhaps `id` and `title`.

        A title becomes the first paragraph, so that an expert learns headline and report. Objects
        with `prompt` and `answer` are learnt as answers; those of one `work` share a split.
        """
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                prompt, title = str(row.get("prompt", "")), str(row.get("title", ""))
                body = str(row["answer"] if prompt else row["text"])
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise BadCorpus(
                    f'{path.name}, line {number}: not a JSON object with "text", or with "prompt" '
                    'and "answer". The file may be cut short: fetch it again or delete that line.'
                ) from error
            own = str(row.get("id", f"{path.stem}-{number}"))
            yield Work(
                id=f"{row['work']}#{own}" if "work" in row else own,
                title=title,
                paragraphs=paragraphs_of(body if prompt else f"{title}\n\n{body}"),
                prompt=prompt,
                source=str(row.get("source", self.edition)),
                licence=str(row.get("licence", self.licence)),
                marks={key: str(row[key]) for key in row if key not in NOT_MARKS},
            )
