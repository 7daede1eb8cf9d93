"""Between the ledger's rows and plain values: one function each way."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter

from engine.events import Cancelled, Failed, Final, Finished, Picture
from engine.ledger.tables import Asker, JobRow, Output, PictureRow, RequestRow
from engine.plan.cards import Sampling
from engine.plan.job import Answer, Job, Request
from engine.plan.picture import Order
from engine.plan.router import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a request says of its pictures."""

    size: tuple[int, int] | None = None
    count: int | None = None
    negative: str | None = None
    scale: float | None = None


class UnfinishedJob(NamedTuple):
    """A job that an owner left unfinished; `asker` as `Ledger.who` names people."""

    job: Job
    deaths_alone: int
    accepted_at: float
    asker: str


DIGEST = 80  # characters; a text server's own name for its model may be longer
_ROUTE = TypeAdapter(Route)
_WANTED = TypeAdapter(_Wanted)
_ORDER = TypeAdapter(Order)
_NOTHING = _Wanted()
_SAMPLING = {field.name for field in fields(Sampling)}  # what an older program wrote may differ

SELECT_ANSWER = (
    sa.select(
        RequestRow.__table__,
        JobRow.__table__,
        Output.text,
        Asker.platform_id,
        sa.select(sa.func.count())
        .where(PictureRow.job_id == JobRow.id, PictureRow.media.is_not(None))
        .scalar_subquery()
        .label("pictures"),
    )
    .join(JobRow, JobRow.request_id == RequestRow.id)
    .join(Asker, Asker.id == RequestRow.asker_id)
    .join(Output, Output.job_id == JobRow.id, isouter=True)
    .set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)
)
SELECT_FINAL = sa.select(JobRow.__table__, Output.text, Output.notes).join(
    Output, Output.job_id == JobRow.id, isouter=True
)


def request_values(request: Request, route: Route, request_id: str) -> dict[str, Any]:
    """The row of a request; asker, place lookup and time are the ledger's to add."""
    wanted = _Wanted(**{field.name: getattr(request, field.name) for field in fields(_Wanted)})
    return {
        "id": request_id,
        "command": request.command,
        "platform": request.platform,
        "place": request.place,
        "alone": request.alone,
        "conversation": request.conversation,
        "parent": request.parent,
        "typed": request.typed,
        "text": request.text,
        "beginning": request.beginning,
        "style": request.style,
        "length": request.length,
        "seed": request.seed,
        "drawing": None if wanted == _NOTHING else _WANTED.dump_json(wanted).decode(),
        "rule": route.rule,
        "route": _ROUTE.dump_json(route).decode(),
        "router_version": route.router_version,
        "private": request.private,
    }


def job_values(job: Job) -> dict[str, Any]:
    """The row of a job that was just accepted, but for the time."""
    return {
        "id": job.id,
        "request_id": job.request,
        "expert": job.expert,
        "medium": job.medium,
        "state": "queued",
        "prompt": job.prompt,
        "head": job.head,
        "length": job.length,
        "seed": job.seed,
        "sampling": asdict(job.sampling),
        "drawing": None if job.order is None else _ORDER.dump_json(job.order).decode(),
        "plain": job.plain,
        "attempt": job.attempt,
        "alone": job.alone,
        "deaths_alone": 0,
    }


def job_of(row: Any) -> Job:
    """The job of a row of `jobs`."""
    return Job(
        id=row.id,
        request=row.request_id,
        expert=row.expert,
        medium=row.medium,
        prompt=row.prompt or "",
        head=row.head,
        length=row.length,
        seed=row.seed,
        sampling=Sampling(**{name: row.sampling[name] for name in _SAMPLING & row.sampling.keys()}),
        order=None if row.drawing is None else _ORDER.validate_json(row.drawing),
        plain=row.plain,
        attempt=row.attempt,
        alone=row.alone,
    )


def answer_of(row: Mapping[str, Any]) -> Answer:
    """The answer of a SELECT_ANSWER row."""
    columns = {c.name: row[f"jobs_{c.name}"] for c in JobRow.__table__.columns}
    asked = {c.name: row[f"requests_{c.name}"] for c in RequestRow.__table__.columns}
    wanted = _WANTED.validate_json(asked["drawing"]) if asked["drawing"] else _NOTHING
    return Answer(
        request=Request(
            command=asked["command"],
            text=asked["text"] or "",
            typed=asked["typed"] or "",
            platform=asked["platform"],
            asker=row["askers_platform_id"],
            place=asked["place"],
            style=asked["style"],
            length=asked["length"],
            seed=asked["seed"],
            conversation=asked["conversation"],
            parent=asked["parent"],
            beginning=asked["beginning"],
            private=asked["private"],
            **asdict(wanted),
        ),
        request_id=asked["id"],
        job=job_of(_Attributes(columns)),
        route=_route(asked, columns["expert"]),
        state=columns["state"],
        text=row["outputs_text"] or "",
        pictures=row["pictures"],
        expired=asked["route"] is None,
        spot=asked["place_lookup"],
    )


def _route(asked: Mapping[str, Any], expert: str) -> Route:
    """The decision; of one that was blanked, what its row still says."""
    if asked["route"] is not None:
        return _ROUTE.validate_json(asked["route"])
    version = asked["router_version"]
    return Route(
        expert=expert, rule=asked["rule"], evidence=(), runners_up=(), router_version=version
    )


class _Attributes:
    """A mapping read as attributes, as a row is."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


def final_values(event: Final, now: float) -> dict[str, Any]:
    """What a final event changes in the job's row."""
    match event:
        case Finished():
            return {
                "state": "finished",
                "finished_at": now,
                "started_at": now - event.seconds,
                "first_token_at": now - event.seconds + event.first_token_seconds,
                "tokens_in": event.tokens_in,
                "tokens_out": event.tokens_out,
                "base_digest": event.base_digest[:DIGEST] or None,
                "adapter_digest": event.adapter_digest[:DIGEST] or None,
            }
        case Failed():
            state = "dead" if event.dead else "failed"
            error = event.reason or event.message
            return {"state": state, "finished_at": now, "error": error}
        case Cancelled():
            return {"state": "cancelled", "finished_at": now, "tokens_out": event.tokens_out}


def picture_values(picture: Picture, job: str, number: int, media: str) -> dict[str, Any]:
    """The row of a picture, but for its id and the time."""
    return {
        "job_id": job,
        "number": number,
        "media": media,
        "width": picture.width,
        "height": picture.height,
        "seed": picture.seed,
    }


def put_pictures(event: Final, put: Callable[[bytes], str]) -> list[dict[str, Any]]:
    """Hand the pictures of an answer to a store; their rows."""
    drawn = event.pictures if isinstance(event, Finished) else ()
    return [
        picture_values(picture, event.job, number, put(picture.data))
        for number, picture in enumerate(drawn)
    ]


def pictures_of(rows: Sequence[Any], get: Callable[[str], bytes | None]) -> tuple[Picture, ...]:
    """The pictures of rows of `pictures`; those whose bytes are gone are left out."""
    found = ((row, get(row.media)) for row in rows if row.media)
    return tuple(
        Picture(data=data, width=row.width, height=row.height, seed=row.seed)
        for row, data in found
        if data is not None
    )


def final_event(row: Any, kind_sentence: str, pictures: tuple[Picture, ...] = ()) -> Final | None:
    """The final event of a SELECT_FINAL row; None while the job is unfinished."""
    match row.state:
        case "finished":
            return Finished(
                job=row.id,
                attempt=row.attempt,
                text=row.text or "",
                tokens_in=row.tokens_in or 0,
                tokens_out=row.tokens_out or 0,
                first_token_seconds=row.first_token_at - row.started_at,
                seconds=row.finished_at - row.started_at,
                base_digest=row.base_digest or "",
                adapter_digest=row.adapter_digest or "",
                notes=tuple(json.loads(row.notes or "[]")),
                pictures=pictures,
            )
        case "failed" | "dead":
            return Failed(
                job=row.id,
                attempt=row.attempt,
                message=kind_sentence,
                reason=row.error or "",
                dead=row.state == "dead",
            )
        case "cancelled":
            return Cancelled(job=row.id, attempt=row.attempt, text=row.text or "")
        case _:
            return None
