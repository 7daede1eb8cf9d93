"""Between the ledger's rows and plain values: one function each way."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter

from engine.events import Cancelled, Failed, Final, Finished, Picture
from engine.ledger.tables import Asker, JobRow, Output, PictureRow, RequestRow
from engine.plan.cards import Sampling
from engine.plan.job import Answer, Job, Request
from engine.plan.picture import Order
from engine.plan.route import Route


class UnfinishedJob(NamedTuple):
    """A job that an owner left unfinished; `asker` is their keyed lookup."""

    job: Job
    deaths_alone: int
    accepted_at: float
    asker: str


DIGEST = 80  # characters; a text server's own name for its model may be longer
_ROUTE = TypeAdapter(Route)
_ORDER = TypeAdapter(Order)
# The columns that are called as the fields are.
_OF_REQUEST = (
    "command", "platform", "place", "conversation", "parent", "typed", "text", "beginning", "style",
    "length", "seed", "private",
)  # fmt: skip
# Those in one column, as JSON.
_OF_PICTURES = "size", "count", "negative", "scale"
_OF_MEMORY = "notes", "synopsis"
_OF_JOB = (
    "id", "expert", "medium", "prompt", "head", "recalled", "noted", "length", "seed", "plain",
    "attempt", "alone",
)  # fmt: skip
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
    """Make the row of a request; asker, place lookup and time are the ledger's to add."""
    return {name: getattr(request, name) for name in _OF_REQUEST} | {
        "id": request_id,
        "alone": request.alone,
        "drawing": _together(request, _OF_PICTURES),
        "memory": _together(request, _OF_MEMORY),
        "rule": route.rule,
        "route": _ROUTE.dump_json(route).decode(),
        "router_version": route.router_version,
    }


def _together(request: Request, names: Sequence[str]) -> str | None:
    """Write the fields that hold something into one column."""
    said = {
        name: found for name in names if (found := getattr(request, name)) not in (None, (), "")
    }
    return json.dumps(said, ensure_ascii=False) if said else None


def job_values(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in _OF_JOB} | {
        "request_id": job.request,
        "state": "queued",
        "sampling": asdict(job.sampling),
        "drawing": None if job.order is None else _ORDER.dump_json(job.order).decode(),
        "deaths_alone": 0,
    }


def job_of(row: Mapping[Any, Any]) -> Job:
    sampling = row["sampling"]
    return Job(
        **{name: row[name] for name in _OF_JOB} | {"prompt": row["prompt"] or ""},
        request=row["request_id"],
        sampling=Sampling(**{name: sampling[name] for name in _SAMPLING & sampling.keys()}),
        order=None if row["drawing"] is None else _ORDER.validate_json(row["drawing"]),
    )


def answer_of(row: Mapping[str, Any]) -> Answer:
    job = {c.name: row[f"jobs_{c.name}"] for c in JobRow.__table__.columns}
    asked = {c.name: row[f"requests_{c.name}"] for c in RequestRow.__table__.columns}
    wanted = json.loads(asked["drawing"] or "{}") | json.loads(asked["memory"] or "{}")
    wanted |= {name: tuple(wanted[name]) for name in ("size", "notes") if wanted.get(name)}
    words = {"text": asked["text"] or "", "typed": asked["typed"] or ""}
    return Answer(
        request=Request(
            **{name: asked[name] for name in _OF_REQUEST} | words | wanted,
            asker=row["askers_platform_id"],
        ),
        request_id=asked["id"],
        job=job_of(job),
        route=_route(asked, job["expert"]),
        state=job["state"],
        text=row["outputs_text"] or "",
        pictures=row["pictures"],
        expired=asked["route"] is None,
        spot=asked["place_lookup"],
    )


def _route(asked: Mapping[str, Any], expert: str) -> Route:
    """Read the decision; of one that was blanked, what its row still says."""
    if asked["route"] is not None:
        return _ROUTE.validate_json(asked["route"])
    version = asked["router_version"]
    return Route(
        expert=expert, rule=asked["rule"], evidence=(), runners_up=(), router_version=version
    )


def final_values(event: Final, now: float) -> dict[str, Any]:
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


def put_pictures(event: Final, put: Callable[[bytes], str]) -> list[dict[str, Any]]:
    """Hand the pictures of an answer to a store; their rows, but for id and time."""
    return [
        {
            "job_id": event.job,
            "number": number,
            "media": put(picture.data),
            **{name: getattr(picture, name) for name in ("width", "height", "seed")},
        }
        for number, picture in enumerate(event.pictures if isinstance(event, Finished) else ())
    ]


def pictures_of(rows: Sequence[Any], get: Callable[[str], bytes | None]) -> tuple[Picture, ...]:
    """Read the pictures of rows of `pictures`; those whose bytes are gone are left out."""
    found = ((row, get(row.media)) for row in rows if row.media)
    return tuple(
        Picture(data=data, width=row.width, height=row.height, seed=row.seed)
        for row, data in found
        if data is not None
    )


def final_event(row: Any, kind_sentence: str, pictures: tuple[Picture, ...] = ()) -> Final | None:
    """Read the final event of a SELECT_FINAL row; None while the job is unfinished."""
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
