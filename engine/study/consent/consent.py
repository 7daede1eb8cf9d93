"""Consent: the answers to the form, the log they make, which of them hold now, and the invitation.

It comes after a first good answer, once a month at most, and never after a withdrawal.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.transactions import add, put
from engine.study.study import ConsentText, Study
from engine.study.tables import ConsentRow, InvitationRow, StudyLinkRow, StudyPlaceRow, StudyRow

MONTH_SECONDS = 30 * 86400.0
QUESTIONS = ("adult", "use", "excerpts", "linkage")  # in the order in which they are asked
_LETTERS = {None: "-", True: "y", False: "n"}
_VALUES = {letter: value for value, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Hold the form as far as it is filled in: None is not answered yet, and nothing is preselected."""

    adult: bool | None = None
    use: bool | None = None
    excerpts: bool | None = None
    linkage: bool | None = None

    @property
    def written(self) -> str:
        """Write four letters, as a button carries them."""
        return "".join(_LETTERS[getattr(self, name)] for name in QUESTIONS)

    @classmethod
    def read(cls, letters: str) -> "Answers":
        """Read four letters. Raises ValueError for anything else."""
        if len(letters) != len(QUESTIONS) or not set(letters) <= set(_VALUES):
            raise ValueError("no answers of ours")
        return cls(**{name: _VALUES[x] for name, x in zip(QUESTIONS, letters, strict=True)})

    @property
    def next(self) -> str:
        """Name the question to ask now; empty when all that matters is answered.

        >>> Answers(adult=True).next, Answers(adult=False).next
        ('use', '')
        """
        for name in QUESTIONS:
            value = getattr(self, name)
            if value is None:
                return name
            if value is False and name in ("adult", "use"):
                return ""
        return ""

    @property
    def agreed(self) -> bool:
        return self.adult is True and self.use is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Hold somebody's last word; `lapsed`: the text has changed since."""

    id: int
    granted: bool
    excerpts: bool
    linkage: bool
    lapsed: bool

    @property
    def live(self) -> bool:
        return self.granted and not self.lapsed


async def last_consent(connection: AsyncConnection, study: Study, pseudonym: str) -> Consent | None:
    row = await _last_row(connection, study, pseudonym)
    if row is None:
        return None
    return Consent(
        id=row.id,
        granted=row.action == "granted" and row.use and row.adult,
        excerpts=row.excerpts,
        linkage=row.linkage,
        lapsed=not study.current(row.text_sha256),
    )


async def takes_part(connection: AsyncConnection, study: Study, place: str) -> bool:
    query = sa.select(StudyPlaceRow.action).filter_by(study=study.id, place=place)
    return await connection.scalar(query.order_by(StudyPlaceRow.id.desc()).limit(1)) == "on"


async def root_of(connection: AsyncConnection, pseudonym: str) -> str:
    """Name the account that stands for all accounts of a person."""
    query = sa.select(StudyLinkRow.root).where(StudyLinkRow.pseudonym == pseudonym)
    return await connection.scalar(query) or pseudonym


async def closed(connection: AsyncConnection, study: Study) -> bool:
    """Tell whether the study was closed, or its key destroyed, by whatever process."""
    over = sa.or_(StudyRow.closed_at.is_not(None), StudyRow.key_destroyed_at.is_not(None))
    query = sa.select(StudyRow.id).where(StudyRow.id == study.id, over)
    return await connection.scalar(query) is not None


async def live_consent(connection: AsyncConnection, study: Study, pseudonym: str) -> Consent | None:
    if await closed(connection, study):
        return None
    consent = await last_consent(connection, study, pseudonym)
    return consent if consent is not None and consent.live else None


async def grant(
    connection: AsyncConnection,
    study: Study,
    pseudonym: str,
    answers: Answers,
    text: ConsentText,
    facts: dict[str, Any],
) -> bool:
    """Add a row; False when the form's is there. `facts`: form, platform, channel, at."""
    assert answers.agreed, "who does not agree has no row"
    values = {
        "study": study.id,
        "pseudonym": pseudonym,
        "action": "granted",
        "use": True,
        "adult": True,
        "excerpts": bool(answers.excerpts),
        "linkage": bool(answers.linkage),
        "text_version": text.version,
        "text_sha256": text.sha256,
        "locale": text.locale,
        **facts,
    }
    return await add(connection, ConsentRow, values)


async def withdraw(
    connection: AsyncConnection, study: Study, pseudonym: str, facts: dict[str, Any]
) -> bool:
    """Add a row; False when there was nothing to withdraw. `facts`: platform, channel, at."""
    row = await _last_row(connection, study, pseudonym)
    if row is None or row.action == "withdrawn":
        return False
    before = {name: value for name, value in row._mapping.items() if name != "id"}
    ended = {"action": "withdrawn", **dict.fromkeys(("use", "excerpts", "linkage"), False)}
    values = {**before, **ended, "form": None, **facts}
    await connection.execute(sa.insert(ConsentRow).values(values))
    return True


async def _last_row(connection: AsyncConnection, study: Study, pseudonym: str) -> Any:
    query = sa.select(ConsentRow.__table__).filter_by(study=study.id, pseudonym=pseudonym)
    return (await connection.execute(query.order_by(ConsentRow.id.desc()).limit(1))).one_or_none()


async def answered_since(
    connection: AsyncConnection, study: Study, pseudonym: str, form: str
) -> str:
    """Look a form up by the log, not the clock: "saved" by it, "older" than the last word, or ""."""
    mine = sa.select(ConsentRow.id).where(ConsentRow.form == form)
    if await connection.scalar(mine) is not None:
        return "saved"
    last = await _last_row(connection, study, pseudonym)
    return "older" if (last.id if last else 0) % FORMS != after_of(form) else ""


FORMS = 32**4  # how many rows the end of a form's name can tell apart
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def form_after(name: str, last: int) -> str:
    """Name a form: a ULID whose last four letters say which row of the log was the last when it was
    asked, so that one asked before that row is known however the clock went.

    >>> form_after("01ARZ3NDEKTSV4RRFFQ69G5FAV", 33)
    '01ARZ3NDEKTSV4RRFFQ69G0011'
    >>> after_of("01ARZ3NDEKTSV4RRFFQ69G0011")
    33
    """
    digits = (last // 32**place % 32 for place in (3, 2, 1, 0))
    return name[:-4] + "".join(_ALPHABET[digit] for digit in digits)


def after_of(form: str) -> int:
    return sum(_ALPHABET.index(letter) * 32**place for place, letter in enumerate(form[:-5:-1]))


async def due_invitation(
    connection: AsyncConnection, study: Study, lookup: str, pseudonym: str, now: float
) -> str:
    """Tell what it is time for: "invited", "lapsed" (an older text) or ""; a writer holds the row."""
    consent = await last_consent(connection, study, pseudonym)
    lapsed = consent is not None and consent.granted and consent.lapsed
    if not (consent is None or lapsed) or await closed(connection, study):
        return ""
    kind = "invited" if consent is None else "lapsed"
    query = sa.select(InvitationRow.outcome, InvitationRow.at).where(
        InvitationRow.lookup == lookup, InvitationRow.study == study.id
    )
    last = (await connection.execute(query.with_for_update())).one_or_none()
    anew = kind == "lapsed" and last is not None and last.outcome == "granted"
    if last is not None and not anew and now - last.at < MONTH_SECONDS:
        return ""
    return kind


async def note_invitation(
    connection: AsyncConnection, study: Study, lookup: str, outcome: str, now: float
) -> None:
    """Note what came of it, and the hour's end: the consent has the second, so not that."""
    hour = now - now % 3600 + 3600
    values = {"lookup": lookup, "study": study.id, "outcome": outcome, "at": hour}
    await put(connection, InvitationRow, ("lookup", "study"), values)
