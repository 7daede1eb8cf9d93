"""After a study's key: no way from the operational record, or from a button in a chat, to its rows."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.tables import Delivery
from engine.study.experiments.tables import Enrolment, Exposure, QuestionnaireAnswer, Vote
from engine.study.tables import ConsentRow, InteractionRow, LinkCodeRow


async def part(connection: AsyncConnection, study: str) -> None:
    """Clear what leads to the study's rows, and rename those that a button names."""
    await connection.execute(sa.delete(LinkCodeRow).where(LinkCodeRow.study == study))
    jobs = sa.select(InteractionRow.job_id).where(InteractionRow.study == study)
    over = Delivery.state.in_(("delivered", "lost"))
    changes = (
        sa.update(Delivery).where(Delivery.job_id.in_(jobs), over).values(address=None),
        sa.update(InteractionRow).where(InteractionRow.study == study).values(job_id=None),
        sa.update(ConsentRow).where(ConsentRow.study == study).values(form=None),
    )
    for change in changes:
        await connection.execute(change)
    for name in list(await connection.scalars(sa.select(Enrolment.id).filter_by(study=study))):
        renamed = sa.update(Enrolment).where(Enrolment.id == name)
        await connection.execute(renamed.values(id=str(ULID())))
    shown = sa.select(Exposure.__table__).filter_by(study=study)
    for row in (await connection.execute(shown.where(Exposure.kind != "single"))).mappings().all():
        old, new = Exposure.id == row["id"], str(ULID())
        await connection.execute(sa.update(Exposure).where(old).values(item=None))  # it is unique
        await connection.execute(sa.insert(Exposure).values({**row, "id": new}))
        for column in (Vote.exposure_id, QuestionnaireAnswer.about):
            moved = sa.update(column.class_).where(column == row["id"])
            await connection.execute(moved.values({column.key: new}))
        await connection.execute(sa.delete(Exposure).where(old))
