"""The words around an answer: how far it is, who wrote it and why; and what /help and the like say."""

import textwrap

from bot.locales import spoken, table, words
from bot.messages.draft import Draft
from engine.events import Cancelled, Finished
from engine.plan.cards import Expert, Registry, Weights
from engine.plan.job import Answer, Status
from engine.plan.route import Route
from engine.plan.semantic import margin
from engine.plan.treatment import ARM

AI_LINE = words("footer.ai")
AGAIN = ("again", "continue")
MANNERS = 3  # of a command that the list of commands names


def progress(draft: Draft, locale: str = "en") -> str:
    """Say in one line how far it is, while there is no text yet."""
    eta = seconds(draft.eta) if draft.eta else ""
    match draft.stage:
        case "loading":
            return spoken(draft.what, locale)
        case "writing":
            return words("progress.writing", locale)
        case "drawing":
            key = "progress.drawing_left" if eta else "progress.drawing"
            return words(key, locale, step=draft.step, steps=draft.steps, left=eta)
        case _ if draft.position == 0:
            return words("progress.next", locale)
        case _:
            key = "progress.before_eta" if eta else "progress.before"
            return words(key, locale, count=draft.position, eta=eta)


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
    final: Finished | Cancelled,
    expert: Expert,
    route: Route,
    weights: Weights,
    *,
    reason: str = "",
    locale: str = "en",
) -> str:
    """Say who wrote, why (or that `reason`), how fast; and that a machine did."""
    parts = [
        words("footer.ai", locale),
        words("footer.manner", locale, title=expert.said("title", locale)),
    ]
    parts.append(reason or short_reason(route, locale))
    if isinstance(final, Cancelled):
        return " · ".join(parts)
    parts.append(seconds(final.seconds))
    if final.pictures:
        seeds = ", ".join(str(picture.seed) for picture in final.pictures)
        parts.append(words("footer.seeds", locale, seeds=seeds))
    elif final.seconds > 0:
        rate = f"{final.tokens_out / final.seconds:.0f}"
        parts.append(words("footer.rate", locale, rate=rate))
    if not final.adapter_digest and weights.adapter:
        parts.append(words("footer.no_adapter", locale))
    return " · ".join(parts)


def short_reason(route: Route, locale: str = "en") -> str:
    said = route.evidence[0].words if route.rule in ("style", "keyword") else ""
    rule = route.rule if said or route.rule in ("forced", "semantic") else "default"
    return words(f"footer.{rule}", locale, said=said)


def why(answer: Answer, registry: Registry, locale: str = "en") -> str:
    """Tell the whole routing decision: rule, words, runners-up."""
    route = answer.route
    if route.rule.startswith(f"{ARM}:"):
        return words("why.blind", locale)
    who = _title(registry, route.expert, locale)
    said = ", ".join(
        words("why.said", locale, words=m.words, place=m.start + 1) for m in route.evidence
    )
    known = ("forced", "style", "keyword", "semantic")
    rule = route.rule if route.rule in known else "default"
    lines = [words("why.who", locale, who=who[0].upper() + who[1:])]
    lines.append(words(f"why.{rule}", locale, said=said))
    lines += _near(route, registry, locale)
    for other in (one for one in route.runners_up if one.matches):
        heard = ", ".join(f"“{m.words}”" for m in other.matches)
        title = _title(registry, other.expert, locale)
        lines.append(words("why.other", locale, title=title, heard=heard))
    lines.append(words("why.seed", locale, seed=answer.job.seed, version=route.router_version))
    return "\n".join(lines)


def _near(route: Route, registry: Registry, locale: str) -> list[str]:
    """Tell what was nearest in meaning, what came next, and how far apart they are."""
    lines = []
    for place, near in enumerate(route.nearest[:2]):
        title = (
            _title(registry, near.expert, locale) if near.expert else words("why.nobody", locale)
        )
        key, score = ("why.nearest", "why.next")[place], f"{near.score:.2f}"
        lines.append(words(key, locale, title=title, example=near.example, score=score))
    if lines:
        abstained = words("why.abstained", locale) if route.rule == "default" else ""
        gap = words("why.margin", locale, margin=f"{margin(route.nearest):.2f}")
        lines.append(f"{gap} {abstained}".rstrip())
    return lines


def _title(registry: Registry, name: str, locale: str) -> str:
    expert = registry.named(name)
    return expert.said("title", locale) if expert else name


def styles(registry: Registry, locale: str = "en") -> str:
    """List every expert with the command and the words that call it."""
    lines = []
    for command in registry.commands:
        for place, expert in enumerate(registry.of_command(command)):
            default = words("help.default_style", locale) if place == 0 else ""
            called = words("help.called_by", locale, keywords=", ".join(expert.keywords[:8]))
            call = f"/{command} --style {expert.name}{default}"
            title, about = (expert.said(name, locale) for name in ("title", "about"))
            lines += [f"{call}: {title}. {about}", f"    {called}"]
    return "\n".join(lines)


def queue(status: Status, locale: str = "en") -> str:
    """List what waits, without saying whose it is."""
    if not status.waiting:
        return words("queue.empty", locale)
    lines = [words("queue.count", locale, count=len(status.waiting))]
    for place, w in enumerate(status.waiting, 1):
        state = words(f"queue.{w.state}", locale, seconds=seconds(w.seconds))
        lines.append(f"  {place}. {w.expert}, {state}")
    return "\n".join(lines)


def help_text(registry: Registry, topic: str = "", platform: str = "", locale: str = "en") -> str:
    """List the commands that work on a platform, from the cards; or explain one, the `topic`."""
    most = MANNERS if not topic else len(registry.experts)
    generate = {c: _generate_help(registry, c, locale, most) for c in registry.commands}
    here = table("help_terminal" if platform == "terminal" else "help_chats", locale)
    known = generate | table("help_commands", locale) | here
    if not topic:
        return "\n".join(
            [*known.values(), "", _options_help(registry, locale), "", words("help.try", locale)]
        )
    topic = topic.lower()
    lines = [known[topic] if topic in known else words("help.unknown", locale, topic=topic)]
    if topic in (*generate, *AGAIN):
        lines.append(_options_help(registry, locale, topic))
    known_words = [w for e in registry.of_command(topic) for w in registry.drawing(e).words]
    if known_words:  # those of a small base, where that is what draws
        filled = textwrap.indent(textwrap.fill(", ".join(known_words), 90), "  ")
        lines.append(words("help.small_model", locale, listed=filled))
    return "\n".join(lines)


def _options_help(registry: Registry, locale: str, command: str = "") -> str:
    media = {e.medium for e in registry.experts if command in ("", e.command, *AGAIN)}
    text, picture = words("help.options", locale), words("help.picture_options", locale)
    if media == {"image"}:
        lines = [line for line in text.splitlines() if "--length" not in line]
        return "\n".join([*lines, *picture.splitlines()[1:]])
    return "\n".join([text, *([picture] if "image" in media else [])])


def _generate_help(registry: Registry, command: str, locale: str, most: int) -> str:
    """Name who writes; more than `most` are only counted, for a list of commands is one message."""
    experts = registry.of_command(command)
    titles = [expert.said("title", locale) for expert in experts]
    key = "footer.manner" if len(titles) <= most else "help.manners"
    manner = words(key, locale, title=", ".join(titles), count=len(titles))
    if experts[0].medium == "image":
        manner = words("help.picture", locale, manner=manner)
    return f"{words('help.wish', locale, command=command):22} {manner}"
