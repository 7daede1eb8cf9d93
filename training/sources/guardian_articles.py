"""Articles of The Guardian, kept for a day at most in a store that deletes itself."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.files import write_json
from training.run.expiry import STAMP, guard, purge, stamp
from training.run.json_lines import add_lines, read_lines
from training.sources.guardian_api import GuardianApi, query_of
from training.sources.origins import GuardianOrigin
from training.text.data.cleaning import paragraphs_of
from training.text.data.works import Work

ARTICLES = "articles.jsonl"
STATE = "state.json"


@dataclass
class GuardianSource:
    origin: GuardianOrigin
    licence_ref: str
    api: GuardianApi
    store: Path
    hours: float
    clock: Callable[[], float] = time.time
    watch: Callable[[Path], None] = guard

    def works(self) -> Iterator[Work]:
        """Yield every article with a text; live blogs and empty bodies are left out."""
        for article in self.articles():
            fields = article["fields"]
            yield Work(
                id=article["id"],
                title=fields.get("headline", article["webTitle"]),
                paragraphs=(
                    *paragraphs_of(fields.get("headline", "")),
                    *paragraphs_of(fields["bodyText"]),
                ),
                source=article["webUrl"],
                licence=self.licence_ref,
                marks={
                    "section": article.get("sectionId", ""),
                    "date": article.get("webPublicationDate", ""),
                },
            )

    def articles(self) -> list[dict[str, Any]]:
        """List the articles of the search, up to the limit; go on where an earlier call stopped."""
        state = self.open_store()
        held = {row["id"]: row for row in read_lines(self.store / ARTICLES)}
        if not state["done"] and len(held) < self.origin.limit:
            for page in self.api.pages(self.origin, after=state["last"]):
                fresh = [a for a in page["results"] if a["id"] not in held and usable(a)]
                add_lines(self.store / ARTICLES, *fresh)
                held |= {article["id"]: article for article in fresh}
                state["last"] = page["results"][-1]["id"]
                write_json(self.store / STATE, state)
                if len(held) >= self.origin.limit:
                    break
            state["done"] = True
            write_json(self.store / STATE, state)
        return list(held.values())[: self.origin.limit]

    def open_store(self) -> dict[str, Any]:
        """Open a store that is not due; emptied for another search, begun anew after its day.

        Watched every time: an earlier watcher may have gone with a kill or a restart.
        """
        purge(self.store, self.clock())
        if not (self.store / STAMP).exists():
            self.empty()  # nobody knows since when a text without a stamp lies here
        stamp(self.store, self.hours, self.clock())
        self.watch(self.store)
        # All that decides which articles the store holds.
        asked = query_of(self.origin) | {"limit": str(self.origin.limit)}
        search = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        path = self.store / STATE
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if state.get("search") == search:
                return state
        self.empty()
        state = {"search": search, "last": "", "done": False}
        write_json(path, state)
        return state

    def empty(self) -> None:
        """Forget the search, then its articles: a kill in between leaves no search without them."""
        for name in (STATE, ARTICLES):
            (self.store / name).unlink(missing_ok=True)


def usable(article: dict[str, Any]) -> bool:
    """Tell an article proper, with a body."""
    body = article.get("fields", {}).get("bodyText", "")
    return article.get("type") == "article" and bool(body.strip())
