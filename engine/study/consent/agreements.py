"""The study's service of consent: the form, withdrawal, places, links, and what a person has a right to.

Rights are served for every study that was ever opened here, also while none runs.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from ulid import ULID

from engine.ledger.picture_cleanup import discard
from engine.ledger.transactions import Database, lasting, repeated
from engine.moderation import Judged, verdict_row
from engine.plan.plan import Plan
from engine.settings import Settings
from engine.study import erasure_rules, interactions
from engine.study.consent import account_links, consent
from engine.study.observer import StudyObserver
from engine.study.pseudonyms import pseudonym
from engine.study.study import ConsentText, Study, key_of
from engine.study.tables import InteractionRow, StudyEventRow, StudyPlaceRow, StudyRow

FORM_SECONDS = 24 * 3600.0  # a form is answered within these


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Hold a person's pseudonyms in all studies, and the studies whose key is gone."""

    known: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class Agreements:
    def __init__(self, database: Database, settings: Settings, study: Study | None) -> None:
        self.study = study
        self.observer = StudyObserver(study)
        self._database = database
        self._settings = settings

    @property
    def running(self) -> Study:
        assert self.study is not None, "looked for first"
        return self.study

    async def last(self, platform: str, asker: str) -> consent.Consent | None:
        name = self.running.pseudonym(platform, asker)
        async with self._database.reading() as connection:
            return await consent.last_consent(connection, self.running, name)

    # The form

    async def form(self, platform: str, asker: str) -> str:
        """Name a new form: what it asks about is what is on record now."""
        last = await self.last(platform, asker)
        return consent.form_after(str(ULID()), last.id if last else 0)

    async def closed(self) -> bool:
        async with self._database.reading() as connection:
            return await consent.closed(connection, self.running)

    async def standing(self, platform: str, asker: str, form: str) -> str:
        """Tell whether a form may still be answered: "", or "saved", or "older"."""
        name = self.running.pseudonym(platform, asker)
        if abs(time.time() - ULID.from_str(form).timestamp) > FORM_SECONDS:
            return "older"
        async with self._database.reading() as connection:
            return await consent.answered_since(connection, self.running, name, form)

    @lasting
    async def save(
        self,
        platform: str,
        asker: str,
        answers: consent.Answers,
        text: ConsentText,
        form: str,
        channel: str,
    ) -> str:
        """Write the consent down: "granted"; or "saved" when that was done, "older" when too late."""
        name = self.running.pseudonym(platform, asker)
        now = self._database.clock()
        async with self._database.writing() as connection:
            before = await consent.answered_since(connection, self.running, name, form)
            if before or await consent.closed(connection, self.running):
                return before or "older"
            facts = {"form": form, "platform": platform, "channel": channel, "at": now}
            done = await consent.grant(connection, self.running, name, answers, text, facts)
            lookup = self._database.vault.lookup(platform, asker)
            await consent.note_invitation(connection, self.running, lookup, "granted", now)
        return "granted" if done else "saved"

    @lasting
    async def noted(self, platform: str, asker: str, outcome: str) -> None:
        lookup, now = self._database.vault.lookup(platform, asker), self._database.clock()
        async with self._database.writing() as connection:
            await consent.note_invitation(connection, self.running, lookup, outcome, now)

    @repeated
    async def invite(self, platform: str, asker: str, *, alone: bool, place: str) -> str:
        """Note "invited" or "lapsed" if it is time to ask, in places that take part only."""
        study = self.study
        if study is None or study.key is None:
            return ""
        name = study.pseudonym(platform, asker)
        lookup = self._database.vault.lookup(platform, asker)
        here, now = study.place(platform, place), self._database.clock()
        # mostly it is not time to: look first, so that nobody waits for a lock
        async with self._database.reading() as connection:
            if not alone and not await consent.takes_part(connection, study, here):
                return ""
            if not await consent.due_invitation(connection, study, lookup, name, now):
                return ""
        async with self._database.writing() as connection:
            kind = await consent.due_invitation(connection, study, lookup, name, now)
            if kind:
                await consent.note_invitation(connection, study, lookup, kind, now)
            return kind

    # Ends

    @repeated
    async def withdraw(self, platform: str, asker: str, channel: str) -> bool:
        """End the consent; False where there is none."""
        name = self.running.pseudonym(platform, asker)
        facts = {"platform": platform, "channel": channel, "at": self._database.clock()}
        async with self._database.writing() as connection:
            done = await consent.withdraw(connection, self.running, name, facts)
            if done:
                await erasure_rules.withdrawn(connection, name)
        return done

    @lasting
    async def delete(self, platform: str, asker: str) -> int:
        """Delete what was collected but the consent log; return how many interactions that was."""
        name = self.running.pseudonym(platform, asker)
        async with self._database.writing() as connection:
            mine = sa.select(sa.func.count()).where(InteractionRow.pseudonym == name)
            count = await connection.scalar(mine) or 0
            files = await erasure_rules.erase(connection, [name], standing=False)
            await discard(connection, files, self._database.clock())
        return count

    async def names(self, platform: str, asker: str) -> Names:
        rows = await self._database.rows(sa.select(StudyRow.__table__))
        async with self._database.reading() as connection:
            lookup = self._database.vault.lookup(platform, asker)
            known = set(await erasure_rules.pseudonyms_tied_to(connection, lookup))
        lost = []
        for row in rows:
            key, _ = key_of(self._settings, row.id, row)
            if key is None:
                lost.append(row.id)
            else:
                known.add(pseudonym(key, platform, asker))
        return Names(known=tuple(sorted(known)), lost=tuple(sorted(lost)))

    async def held(self, platform: str, asker: str) -> dict[str, list[dict[str, Any]]]:
        names = await self.names(platform, asker)
        lookup = self._database.vault.lookup(platform, asker)
        async with self._database.reading() as connection:
            return await erasure_rules.held(connection, names.known, lookup)

    # Places

    async def takes_part(self, platform: str, place: str) -> bool:
        name = self.running.place(platform, place)
        async with self._database.reading() as connection:
            return await consent.takes_part(connection, self.running, name)

    @repeated
    async def switch(self, platform: str, place: str, kind: str, action: str) -> bool:
        """Bring a group or server in ("on") or out ("off", "left"); False when it was so already."""
        name = self.running.place(platform, place)
        values = {
            "study": self.running.id,
            "place": name,
            "platform": platform,
            "kind": kind,
            "action": action,
            "at": self._database.clock(),
        }
        async with self._database.writing() as connection:
            if await consent.takes_part(connection, self.running, name) == (action == "on"):
                return False
            await connection.execute(sa.insert(StudyPlaceRow).values(values))
        return True

    # Links

    @repeated
    async def new_code(self, platform: str, asker: str) -> str | None:
        name, now = self.running.pseudonym(platform, asker), self._database.clock()
        async with self._database.writing() as connection:
            return await account_links.new_code(connection, self.running, name, now)

    @repeated
    async def join(self, platform: str, asker: str, code: str) -> str:
        name, now = self.running.pseudonym(platform, asker), self._database.clock()
        async with self._database.writing() as connection:
            return await account_links.join(connection, self.running, name, code, now)

    # What is done with answers

    @repeated
    async def event(
        self,
        kind: str,
        job: str,
        platform: str = "",
        asker: str = "",
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Record what was done with an answer, by its asker unless somebody else is named."""
        study = self.study
        if study is None or study.key is None:
            return
        async with self._database.reading() as connection:  # most answers are in no study
            if await interactions.interaction_of(connection, job) is None:
                return
        by = (platform, asker) if asker else None
        facts = {"kind": kind, "detail": detail or {}, "at": self._database.clock()}
        async with self._database.writing() as connection:
            await interactions.add_to(connection, study, StudyEventRow, job, by, facts)

    @repeated
    async def refused(self, plan: Plan, judged: Sequence[Judged]) -> None:
        """Keep what moderation stopped before it was a job, if its asker takes part."""
        if self.study is None or self.study.key is None:
            return
        now = self._database.clock()
        values = [{**verdict_row(one), "at": now} for one in judged]
        async with self._database.writing() as connection:
            await self.observer.refused(connection, plan, values, now)
