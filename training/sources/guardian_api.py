"""The Guardian's Open Platform: search, and paging through everything a search finds.

`page` stops working deep in a search, `/content/{last id}/next` does not; its order and page size must
be those of the first answer. Errors carry no Retry-After but `ratelimit-reset`.
"""

from collections.abc import Iterator
from typing import Any

from training.errors import SourceFault
from training.sources.origins import GuardianOrigin
from training.web.http_client import PoliteClient, is_json

ADDRESS = "https://content.guardianapis.com"
SECONDS_BETWEEN = 1.0
FIRST_RETRY = 0.25  # seconds, as in the official client
FIELDS = "headline,byline,bodyText,wordcount,firstPublicationDate,publication,shortUrl"

Answer = dict[str, Any]


class GuardianApi:
    """Search with one key; no message that it raises holds the key."""

    def __init__(self, key: str, client: PoliteClient, address: str = ADDRESS) -> None:
        self.key = key
        self.client = client
        self.address = address.rstrip("/")

    def pages(self, origin: GuardianOrigin, after: str = "") -> Iterator[Answer]:
        """Yield every page of a search, newest first; `after` goes on behind the article of that id."""
        query = query_of(origin)
        answer = self.ask(f"/content/{after}/next" if after else "/search", query)
        seen: set[str] = set()
        while True:
            results = answer["results"]
            fresh = {result["id"] for result in results} - seen
            if not fresh:  # an empty page, or one that repeats: the end
                return
            yield answer
            if len(results) < int(answer.get("pageSize", origin.page_size)):
                return
            seen |= fresh
            query |= {
                "order-by": str(answer.get("orderBy", query["order-by"])),
                "page-size": str(answer.get("pageSize", query["page-size"])),
            }
            answer = self.ask(f"/content/{results[-1]['id']}/next", query)

    def ask(self, path: str, query: dict[str, str]) -> Answer:
        """Give one answer's `response`."""
        asked = {**query, "api-key": self.key}
        answer = self.client.get(self.address + path, asked, as_json=True)
        said = answer.json() if is_json(answer) else {}
        body: Answer = said if isinstance(said, dict) else {}
        response = body.get("response")
        if answer.status_code != 200 or not isinstance(response, dict):
            raise SourceFault(told(answer.status_code, body))
        return response


def query_of(origin: GuardianOrigin) -> dict[str, str]:
    query = {
        "type": "article",
        "order-by": "newest",
        "page-size": str(origin.page_size),
        "show-fields": FIELDS,
        "q": origin.query,
        "section": origin.section,
        "tag": origin.tag,
        "from-date": origin.from_date.isoformat() if origin.from_date else "",
        "to-date": origin.to_date.isoformat() if origin.to_date else "",
    }
    return {name: value for name, value in query.items() if value}


def told(status: int, body: Answer) -> str:
    response = body.get("response")
    message = str((response if isinstance(response, dict) else body).get("message", ""))
    if status == 401:
        return (
            "The Guardian refused the key (401). Check GUARDIAN_API_KEY; keys come from "
            "https://open-platform.theguardian.com/access/."
        )
    return f"The Guardian answered {status}: {message or 'no reason given'}. Check [source]."
