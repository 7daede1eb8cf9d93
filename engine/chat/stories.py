"""A person's stories in a place: every answer a node, its versions beside it, its sequels below.

Nothing is stored for it. A request that takes up another has it as its `parent`; one that goes on has
a beginning of its own, one that repeats has its parent's. What was blanked stays as a gap, so that the
branches below it keep their place.

Notes are written on a request: they hold for what takes it up from then on, which copies them as it
copies the request's other words, and so live and go with it. No other branch has them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from engine.ledger.erasure import followers
from engine.ledger.ledger import Ledger
from engine.ledger.rows import SELECT_ANSWER, answer_of
from engine.ledger.tables import Asker, RequestRow
from engine.ledger.transactions import repeated
from engine.plan.job import Answer

MOST_NODES = 300  # of a story that are read
MOST_STORIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One answer: its number ("2.1" goes on from "2"), and the job that it goes on from."""

    answer: Answer
    number: str
    above: str | None

    @property
    def job(self) -> str:
        return self.answer.job.id

    @property
    def kept(self) -> bool:
        return bool(self.answer.text)


class Stories:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def tree(self, answer: Answer) -> tuple[Node, ...]:
        """Give all nodes of the answer's story that are its asker's, in the order of their numbers."""
        row = RequestRow
        near = sa.select(row.id, row.parent).where(row.id == answer.request_id)
        above = near.cte(recursive=True)
        line = above.union(sa.select(row.id, row.parent).join(above, row.id == above.c.parent))
        first = sa.select(line.c.id).where(line.c.parent.is_(None))
        below = followers(row.__table__, first)
        mine = Asker.lookup == self._ledger.person(answer.request.platform, answer.request.asker)
        nodes = SELECT_ANSWER.where(mine, sa.or_(row.id.in_(first), row.id.in_(below)))
        newest = nodes.order_by(row.accepted_at.desc(), row.id.desc())
        return numbered((await self._read(newest, MOST_NODES))[::-1])

    @repeated
    async def note(
        self, answer: Answer, change: Callable[[tuple[str, ...]], tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        """Change an answer's notes and give them; None where its words have gone meanwhile."""
        mine = RequestRow.id == answer.request_id, RequestRow.route.is_not(None)
        query = sa.select(RequestRow.memory).where(*mine).with_for_update()
        async with self._ledger.writing() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            memory = json.loads(row.memory or "{}")
            notes = change(tuple(memory.get("notes", ())))
            memory |= {"notes": notes}
            written = json.dumps(memory, ensure_ascii=False) if any(memory.values()) else None
            await connection.execute(sa.update(RequestRow).where(*mine).values(memory=written))
        return notes

    async def newest(self, platform: str, asker: str, place: str) -> list[Answer]:
        """Read the first answers of the newest stories, of those whose words are there still."""
        mine = SELECT_ANSWER.where(
            Asker.lookup == self._ledger.person(platform, asker),
            RequestRow.place_lookup == self._ledger.place(platform, place),
            RequestRow.parent.is_(None),
        ).order_by(RequestRow.accepted_at.desc())
        found: list[Answer] = []
        for a in await self._read(mine, 4 * MOST_STORIES):  # pictures are among them
            if a.job.order is None and len(found) < MOST_STORIES:
                found += [a] if a.text else [n.answer for n in await self.tree(a) if n.kept][:1]
        return found

    async def _read(self, query: sa.Select[tuple[object, ...]], most: int) -> list[Answer]:
        rows = await self._ledger.rows(query.limit(most))
        return [answer_of(dict(row._mapping)) for row in rows]


def numbered(answers: Sequence[Answer]) -> tuple[Node, ...]:
    """Number answers that are in the order of their time; what is below tells where a gap was."""
    asked = {answer.request_id: answer for answer in answers}
    above: dict[str, str | None] = {}
    counts: dict[str | None, int] = {}
    numbers, begun, below = dict[str, str](), dict[str, str](), dict[str, str]()
    for answer in reversed(answers):
        up, own = answer.request.parent or "", _letters(answer.request.beginning)
        below[up] = own or below.get(answer.request_id) or below.get(up, "")
    for answer in answers:
        name, begins = answer.request_id, _letters(answer.request.beginning)
        parent, of = asked.get(answer.request.parent or ""), None
        if parent is not None:
            before = begun[parent.request_id]
            if answer.expired:
                whole = _letters(parent.request.beginning or parent.job.beginning, parent.text)
                on = bool(parent.text) and below.get(name, "").startswith(whole)
                begins = whole if on else before
            of = parent.request_id if begins not in ("", before) else above[parent.request_id]
        begun[name], above[name] = begins, of
        counts[of] = counts.get(of, 0) + 1
        numbers[name] = f"{numbers[of]}.{counts[of]}" if of else str(counts[of])
    ofs = {name: of and asked[of].job.id for name, of in above.items()}
    nodes = [Node(answer=asked[n], number=numbers[n], above=of) for n, of in ofs.items()]
    return tuple(sorted(nodes, key=lambda n: [int(part) for part in n.number.split(".")]))


def _letters(*texts: str | None) -> str:
    return "".join("".join(text.split()) for text in texts if text)


def path(nodes: Sequence[Node], job: str) -> list[Node]:
    known = {node.job: node for node in nodes}
    line: list[Node] = []
    at: str | None = job
    while at is not None and at in known:
        line.append(known[at])
        at = known[at].above
    return line[::-1]


def versions(nodes: Sequence[Node], job: str) -> list[Node]:
    """Give the answers that go on from the same one, this among them, as far as their words are kept."""
    above = next(node.above for node in nodes if node.job == job)
    return [node for node in nodes if node.above == above and node.kept]
