"""Stimuli: items made ahead, each in several arms, that many people judge.

`studies/<study>/stimuli/<pool>.items.toml` holds a pool; its pictures lie beside it, named by their
SHA-256. From the first unit on that an experiment shows it to, the pool is the copy in the database.

Who comes as number r meets the stimuli in the keyed order that begins at place r: a cyclic Latin square,
in which each stands at each place as often. Of a stimulus the version goes first that was judged least.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from engine.errors import SetupError
from engine.ledger.transactions import Database, repeated
from engine.study.consent.participants import Person
from engine.study.experiments.allocation import shuffled, sides
from engine.study.experiments.experiment import BETWEEN
from engine.study.experiments.exposures import taken
from engine.study.experiments.passages import Item, read_items
from engine.study.experiments.steps import Step
from engine.study.experiments.tables import Exposure, ItemRow
from engine.study.study import Study, StudyService

if TYPE_CHECKING:
    from engine.study.experiments.enrolment import Enrolled

ITEMS = ".items.toml"


def digest_of(items: Iterable[Item]) -> str:
    return hashlib.sha256("\n".join(sorted(item.id for item in items)).encode()).hexdigest()


def whole(pool: str, stimulus: str) -> str:
    """Name a stimulus as what a pair of its versions shows, as long as all ids."""
    return hashlib.sha256(f"{pool}|{stimulus}".encode()).hexdigest()[:26]


def shown(label: str, item: Item) -> dict[str, Any]:
    """Give what is on record of an item that is shown."""
    same = item.model_dump(include={"kind", "expert", "arm", "stimulus", "plain"})
    return {"label": label, "item": item.id, "plain": False, "named_itself": False} | same


def versions_of(items: Iterable[Item]) -> dict[str, dict[str, Item]]:
    found: dict[str, dict[str, Item]] = {}
    for item in items:
        found.setdefault(item.stimulus, {})[item.arm] = item
    return found


def rotated(key: bytes, name: str, things: Iterable[str], row: int) -> list[str]:
    """Give a row of a cyclic Latin square in the key's order.

    >>> rows = [rotated(bytes(32), "e", "abc", row) for row in range(3)]
    >>> sorted(row[0] for row in rows), sorted(row[1] for row in rows)
    (['a', 'b', 'c'], ['a', 'b', 'c'])
    """
    order = shuffled(key, f"stimuli|{name}", sorted(things))
    start = row % max(1, len(order))
    return [*order[start:], *order[:start]]


def read_pool(path: Path) -> tuple[Item, ...]:
    """Read a pool and look for its pictures. Raises SetupError."""
    name = path.name.removesuffix(ITEMS)
    try:
        items = read_items(path.read_text(encoding="utf-8-sig"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}.") from None
    if strangers := [item for item in items if item.pool != name]:
        raise SetupError(f"{path.name}: an item belongs to the pool {strangers[0].pool!r}.")
    for item in items:
        file = path.with_name(f"{item.picture}.png")
        data = file.read_bytes() if item.picture and file.exists() else b""
        if item.picture and hashlib.sha256(data).hexdigest() != item.picture:
            raise SetupError(f"{path.name}: the picture {file.name} is not there, or another one.")
    return items


class Stimuli(StudyService):
    def __init__(self, database: Database, study: Study, folder: Path) -> None:
        super().__init__(database, study)
        self.folder = folder
        self.pools: dict[str, tuple[Item, ...]] = {}

    async def load(self, frozen: Collection[str]) -> list[str]:
        """Read the pools, those that are frozen from the database; give what is wrong with the files."""
        problems = []
        of = ItemRow.study == self._study.id, ItemRow.pool != ""
        query = sa.select(ItemRow.__table__).where(*of)
        kept: dict[str, list[Item]] = {}
        for row in await self._database.rows(query):
            kept.setdefault(row.pool, []).append(Item.of(row))
        self.pools = {name: tuple(kept.get(name, ())) for name in frozen}
        for path in sorted(self.folder.glob(f"*{ITEMS}")):
            name = path.name.removesuffix(ITEMS)
            try:
                items = read_pool(path)
            except SetupError as error:
                problems.append(str(error))
                continue
            if name not in frozen:
                if digest_of(items) != digest_of(kept.get(name, ())):
                    await self._put(name, items)
                self.pools[name] = items
            elif digest_of(items) != digest_of(self.pools[name]):
                problems.append(
                    f"{path.name} was changed after people had met the pool; the copy in the database "
                    "goes on. To take an item out: pastiche study items retire."
                )
        return problems

    @repeated
    async def _put(self, name: str, items: Sequence[Item]) -> None:
        async with self._database.writing() as connection:
            own = ItemRow.study == self._study.id, ItemRow.pool == name
            await connection.execute(sa.delete(ItemRow).where(*own))
            rows = [item.row(self._study.id) for item in items]
            await connection.execute(sa.insert(ItemRow), rows)

    async def draw(
        self, enrolled: "Enrolled", step: Step, person: Person, number: int
    ) -> tuple[Item, ...] | None:
        """Choose what the person judges as `number` of a step: two versions to compare, or one.

        None: nothing is left.
        """
        key, experiment = self._study.needed_key(), enrolled.experiment
        active, met = await self.active(step.stimuli), await self.met(person)
        versions = versions_of(i for i in self.pools.get(step.stimuli, ()) if i.id in active)
        counts = await self.counts(experiment.id, step.id)
        most = experiment.seen_by or None
        for name in rotated(key, f"{experiment.id}|{step.id}", versions, enrolled.position):
            items, pair = versions[name], whole(step.stimuli, name)
            if pair in met or any(item.id in met for item in items.values()):
                continue
            seed = f"{experiment.id}|{enrolled.unit}|{name}"
            if step.kind == "compare":
                if most is None or counts[pair] < most:
                    of = f"{experiment.id}|{enrolled.unit}|{step.id}"
                    first = sides(key, of, number, step.count)
                    two = _two(enrolled, items, shuffled(key, seed, sorted(items)))
                    return two if first == 0 else two[::-1]
                continue
            order = shuffled(key, seed, sorted(items))
            if experiment.reveal != "each":  # else who counts what they were told could know
                order.sort(key=lambda arm: counts[items[arm].id])
            free = (items[a] for a in order if most is None or counts[items[a].id] < most)
            if (item := next(free, None)) is not None:
                return (item,)
        return None

    async def active(self, pool: str) -> set[str]:
        query = sa.select(ItemRow.id).where(ItemRow.study == self._study.id, ItemRow.active)
        return set(await self._database.scalars(query.where(ItemRow.pool == pool)))

    async def met(self, person: Person) -> set[str]:
        mine = Exposure.study == self._study.id, Exposure.pseudonym.in_(person.accounts)
        query = sa.select(Exposure.item).where(*mine, Exposure.item.is_not(None))
        return {str(name) for name in await self._database.scalars(query)}

    async def counts(self, experiment: str, step: str) -> Counter[str]:
        of = taken(self._study.id, experiment, step, self._database.clock())
        return Counter(map(str, await self._database.scalars(of)))

    def named(self, name: str) -> Item | None:
        return next((i for items in self.pools.values() for i in items if i.id == name), None)

    def picture(self, item: Item) -> Path:
        return self.folder / f"{item.picture}.png"

    async def retire(self, name: str) -> bool:
        """Show an item to nobody from now on; False for none of that name."""
        mine = ItemRow.study == self._study.id, ItemRow.id.startswith(name, autoescape=True)
        found = await self._database.scalars(sa.select(ItemRow.id).where(*mine))
        if len(found) == 1:
            await self._database.change(sa.update(ItemRow).where(*mine).values(active=False))
        return len(found) == 1


def _two(enrolled: "Enrolled", items: Mapping[str, Item], order: Sequence[str]) -> tuple[Item, ...]:
    """Choose the two versions of the unit's arm; else two of all, by chance."""
    own = [arm for arm in enrolled.arm.split(BETWEEN) if arm in items]
    if len(own) != 2:
        own = sorted(order[:2])  # whatever counts units counts stimuli, too, and would join the two
    return tuple(items[arm] for arm in own)
