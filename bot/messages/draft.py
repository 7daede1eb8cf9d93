"""What the asker sees now: the fold of a job's events, and the words around an answer. Pure."""

import textwrap
from dataclasses import dataclass, replace

from engine.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    Image,
    Loading,
    Queued,
    Started,
    Text,
)
from engine.plan.cards import Expert, Registry, Weights
from engine.plan.job import Answer, Status
from engine.plan.router import Route

AI_LINE = "AI-generated"


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
    """The draft after the event; what an earlier attempt still says changes nothing.

    >>> fold(Draft(), Text(job="j", attempt=1, text="It rained", tokens=2)).text
    'It rained'
    """
    match event:
        case Queued(job=job, position=position, eta=eta):
            return replace(draft, stage="waiting", job=job, position=position, eta=eta)
        case _ if event.attempt < draft.attempt:
            return draft
        case Loading(job=job, what=what):
            return replace(draft, stage="loading", job=job, attempt=event.attempt, what=what)
        case Started():
            return replace(
                draft,
                stage="writing",
                attempt=event.attempt,
                text="",
                tokens=0,
                step=0,
                preview=b"",
            )
        case Text(text=text, tokens=tokens):
            attempt = event.attempt
            return replace(draft, stage="writing", attempt=attempt, text=text, tokens=tokens)
        case Image(step=step, steps=steps, eta=eta, preview=preview):
            return replace(
                draft,
                stage="drawing",
                attempt=event.attempt,
                step=step,
                steps=steps,
                eta=eta,
                preview=preview or draft.preview,
            )
        case Finished(text=text) | Cancelled(text=text):
            stage = "finished" if isinstance(event, Finished) else "cancelled"
            return replace(draft, stage=stage, attempt=event.attempt, text=text, final=event)
        case Failed():
            return replace(draft, stage="failed", attempt=event.attempt, final=event)


def progress(draft: Draft) -> str:
    """One line while there is no text yet."""
    if draft.stage == "loading":
        return draft.what
    if draft.stage == "writing":
        return "writing"
    if draft.stage == "drawing":
        left = f", about {seconds(draft.eta)} left" if draft.eta else ""
        return f"drawing, step {draft.step} of {draft.steps}{left}"
    if draft.position == 0:
        return "next in the queue"
    eta = f", about {seconds(draft.eta)}" if draft.eta else ""
    return f"{draft.position} before you{eta}"


def seconds(value: float) -> str:
    """A duration for people.

    >>> seconds(3.21), seconds(75)
    ('3.2 s', '1 min 15 s')
    """
    if value < 9.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def footer(
    final: Finished | Cancelled, expert: Expert, route: Route, weights: Weights, *, reason: str = ""
) -> str:
    """Expert, why (or that `reason`), time and speed; and that a machine wrote it."""
    parts = [AI_LINE, f"in the manner of {expert.title}", reason or short_reason(route)]
    if isinstance(final, Cancelled):
        return " · ".join(parts)
    rate = ""
    if final.pictures:
        rate = "seed " + ", ".join(str(picture.seed) for picture in final.pictures)
    elif final.seconds > 0:
        rate = f"{final.tokens_out / final.seconds:.0f} tokens/s"
    parts += [seconds(final.seconds), rate]
    if not final.adapter_digest and weights.adapter:
        parts.append("base model, no adapter yet")
    return " · ".join(part for part in parts if part)


def short_reason(route: Route) -> str:
    """Why this expert, in a few words."""
    match route.rule:
        case "forced":
            return "you chose the style"
        case "style" | "keyword":
            return f"because you wrote “{route.evidence[0].words}”"
        case _:
            return "the default style"


def why(answer: Answer, registry: Registry) -> str:
    """The routing decision behind an answer, whole: rule, words, runners-up."""
    route = answer.route
    who = _title(registry, route.expert)
    if route.rule.startswith("arm:"):
        return (
            "This answer belongs to a blinded comparison or experiment that you take part in: who wrote "
            "it, and how, is told at its end."
        )
    lines = [f"{who[0].upper()}{who[1:]} answered."]
    match route.rule:
        case "forced":
            lines.append("You named the style, and that decides before anything else.")
        case "style":
            lines.append(f"You wrote {_quoted(route)}, and a named style comes before keywords.")
        case "keyword":
            lines.append(f"You wrote {_quoted(route)}; the longest keyword decides.")
        case _:
            lines.append("Nothing in your request named a style, so the default answered.")
    for other in route.runners_up:
        heard = ", ".join(f"“{m.words}”" for m in other.matches) or "none"
        lines.append(
            f"{_title(registry, other.expert)} could have answered; words for it: {heard}."
        )
    lines.append(f"Seed {answer.job.seed}, router version {route.router_version}.")
    return "\n".join(lines)


def _quoted(route: Route) -> str:
    return ", ".join(f"“{m.words}” (at character {m.start + 1})" for m in route.evidence)


def _title(registry: Registry, name: str) -> str:
    expert = registry.named(name)
    return expert.title if expert else name


def styles(registry: Registry) -> str:
    """Every expert with the command and the words that call it."""
    lines = []
    for command in registry.commands:
        for place, expert in enumerate(registry.of_command(command)):
            default = " (the default)" if place == 0 else ""
            lines.append(
                f"/{command} --style {expert.name}{default}: {expert.title}. {expert.about}"
            )
            lines.append(f"    called by: {', '.join(expert.keywords[:8])}")
    return "\n".join(lines)


def queue(status: Status) -> str:
    """What waits, without saying whose it is."""
    if not status.waiting:
        return "Nothing is waiting."
    lines = [f"{len(status.waiting)} in the queue:"]
    lines += [
        f"  {place}. {w.expert}, {w.state} for {seconds(w.seconds)}"
        for place, w in enumerate(status.waiting, 1)
    ]
    return "\n".join(lines)


_HELP = {
    "again": "/again                 your last request once more, with another seed",
    "continue": "/continue [TEXT]       go on from the last answer, after TEXT if you add some",
    "why": "/why                   which expert answered, by which rule, on which words",
    "styles": "/styles                who can answer, and the words that call them",
    "cancel": "/cancel                stop an answer under way",
    "queue": "/queue                 what is waiting",
    "help": "/help [COMMAND]        this text",
    "privacy": "/privacy               what is kept, for how long, and how to have it deleted",
    "forget": "/forget                delete everything of yours (asks first)",
    "mydata": "/mydata                everything that is kept of you, as a file",
    "compare": "/compare TEXT          two answers, blinded, side by side: which is better?",
    "guess": "/guess                 a passage: by a person or by a machine?",
    "consent": "/consent               take part in a study, or see what you agreed to",
    "withdraw": "/withdraw              leave the study",
    "link": "/link [CODE]           count two of your accounts as one in the study",
}
_HELP_CHATS = {
    "report": "/report [REASON]       say that an answer should not have been given",
    "settings": "/settings [...]        this chat's default style (for those who manage it)",
    "study": "/study [on|off]        whether this place takes part (for those who manage it)",
}
_HELP_TERMINAL = {
    "cancel": "/cancel                stop an answer under way, as Ctrl-C does at once",
    "quit": "/quit                  leave (as /exit and Ctrl-D do)",
}
_OPTIONS_HELP = """Options, before or after the text:
  --style NAME    who answers, whatever the text says
  --length N      about how many tokens; a token is three quarters of a word
  --seed N        the same seed and words give the same answer
  --private       nothing of this request stays on record once it is answered"""
_PICTURE_HELP = """For pictures:
  --size N|WxH    in pixels
  --count N       1 to 4 pictures, their seeds counted up
  --negative "…"  what should not be seen
  --scale X       how strong the style is: 0 none, 1 as trained"""


def help_text(registry: Registry, topic: str = "", platform: str = "") -> str:
    """Made from the cards, with what works on that platform. A topic is one command's name."""
    generate = {c: _generate_help(registry, c) for c in registry.commands}
    known = generate | _HELP | (_HELP_TERMINAL if platform == "terminal" else _HELP_CHATS)
    if topic:
        lines = [known.get(topic.lower(), f"There is no /{topic}. Send /help for all commands.")]
        if topic.lower() in (*generate, "again", "continue"):
            lines.append(_options_help(registry, topic.lower()))
        lines += _words_help(registry, topic.lower())
        return "\n".join(lines)
    example = "/story in the style of lovecraft: They sat alone in the darkened room."
    return "\n".join([*known.values(), "", _options_help(registry), "", f"Try: {example}"])


def _words_help(registry: Registry, command: str) -> list[str]:
    """The words of a small base, where that is what draws."""
    words = [w for e in registry.of_command(command) for w in registry.drawing(e).words]
    listed = textwrap.fill(", ".join(words), 92, initial_indent="  ", subsequent_indent="  ")
    return [f"The small model knows these words only:\n{listed}"] if words else []


def _options_help(registry: Registry, command: str = "") -> str:
    """The options of a command, or of all."""
    media = {e.medium for e in registry.experts if command in ("", e.command, "again", "continue")}
    if media == {"image"}:
        lines = [line for line in _OPTIONS_HELP.splitlines() if "--length" not in line]
        return "\n".join([*lines, *_PICTURE_HELP.splitlines()[1:]])
    return "\n".join([_OPTIONS_HELP, *([_PICTURE_HELP] if "image" in media else [])])


def _generate_help(registry: Registry, command: str) -> str:
    names = ", ".join(expert.title for expert in registry.of_command(command))
    return f"{'/' + command + ' TEXT':22} in the manner of {names}"
