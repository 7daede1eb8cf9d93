"""What the asker sees now: the fold of a job's events. Pure."""

from dataclasses import dataclass, replace

from engine.events import Cancelled, Event, Failed, Finished, Image, Loading, Queued, Started, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """`stage` is waiting, loading, writing, drawing, or a final one: finished, failed, cancelled.

    `preview` is a small JPEG of the picture under way, at `step` of `steps`; `eta` in seconds.
    """

    stage: str = "waiting"
    job: str = ""
    attempt: int = 0
    position: int = 0
    eta: float | None = None
    what: str = ""
    text: str = ""
    tokens: int = 0
    step: int = 0
    steps: int = 0
    preview: bytes = b""
    final: Finished | Failed | Cancelled | None = None


def fold(draft: Draft, event: Event) -> Draft:
    """The draft after the event; what an earlier attempt still says changes nothing."""
    if isinstance(event, Queued):
        position, eta = event.position, event.eta
        return replace(draft, stage="waiting", job=event.job, position=position, eta=eta)
    if event.attempt < draft.attempt:
        return draft
    draft = replace(draft, attempt=event.attempt)
    match event:
        case Loading(job=job, what=what):
            return replace(draft, stage="loading", job=job, what=what)
        case Started():
            return replace(draft, stage="writing", text="", tokens=0, step=0, preview=b"")
        case Text(text=text, tokens=tokens):
            return replace(draft, stage="writing", text=text, tokens=tokens)
        case Image(step=step, steps=steps, eta=eta):
            seen = event.preview or draft.preview
            return replace(draft, stage="drawing", step=step, steps=steps, eta=eta, preview=seen)
        case Finished(text=text) | Cancelled(text=text):
            stage = "finished" if isinstance(event, Finished) else "cancelled"
            return replace(draft, stage=stage, text=text, final=event)
        case Failed():
            return replace(draft, stage="failed", final=event)
