"""/settings, by those who may manage a place, and /admin, by those who run the bot."""

from bot.locales import words
from bot.messages import wording
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.service.admission import operates, place_of
from bot.service.context import Context
from bot.service.request import Reply, Who
from engine.errors import AskerError, CommandError

KINDS = ("asker", "place", "server")


async def settle(context: Context, command: Simple, who: Who) -> Reply:
    """Show or change the place's settings. Raises AskerError."""
    place, topic = await place_of(context, who), command.topic
    if not topic:
        on = words("talk.on" if place.talk_on else "talk.off", who.locale)
        style = place.style or words("talk.none", who.locale)
        shown = words("talk.settings_shown", who.locale, style=style, talk_on=on)
        return Reply(shown, private=True)
    if not (who.alone or who.manager or operates(context, who)):
        raise AskerError(words("talk.not_manager", who.locale))
    what, _, value = topic.partition(" ")
    change: dict[str, str | bool]
    match what.lower(), value.strip().lower():
        case "style", "none":
            change, key = {"style": ""}, "talk.settings_no_style"
        case "style", name if name:
            change, key = {"style": _style(context, name, who.locale)}, "talk.settings_style"
        case "talk", "on":
            if not context.settings.message_content:
                raise AskerError(words("talk.settings_talk_never", who.locale))
            change, key = {"talk_on": True}, "talk.settings_talk_on"
        case "talk", "off":
            change, key = {"talk_on": False}, "talk.settings_talk_off"
        case _:
            raise CommandError(words("talk.settings_help", who.locale))
    owner = who.asker if who.alone else None
    await context.services.places.settle(who.platform, who.place, owner, who.parent, **change)
    done = words(key, who.locale, **change)
    return Reply(words("talk.settings_done", who.locale, what=done), private=True)


def _style(context: Context, name: str, locale: str) -> str:
    for expert in context.registry.experts:
        if name in (expert.name, *(alias.lower() for alias in expert.aliases)):
            return expert.name
    known = ", ".join(expert.name for expert in context.registry.experts)
    raise CommandError(words("talk.no_style", locale, name=name[:40], known=known))


async def administer(context: Context, command: Simple, who: Who) -> Reply:
    """Obey an operator. Raises AskerError for anybody else."""
    if not operates(context, who):
        raise AskerError(words("talk.not_operator", who.locale))
    places, (action, *rest) = context.services.places, command.topic.split() or ["status"]
    match action.lower(), rest:
        case "status", []:
            return Reply(await _status(context, who.locale), private=True)
        case ("pause" | "resume") as switch, []:
            await places.switch("paused", "on" if switch == "pause" else "")
        case "drain", []:
            context.lifecycle.stop()
        case "reports", []:
            return Reply(await _reports(context, who.locale), private=True)
        case (("block" | "allow" | "clear"), [kind, name]) if kind.lower() in KINDS:
            kept = {"block": "deny", "allow": "allow", "clear": ""}[action.lower()]
            await places.rule(who.platform, kind.lower(), name, kept)
            done = f"{action.lower()} {kind.lower()} {name}"
            return Reply(words("admin.done", who.locale, what=done), private=True)
        case _:
            return Reply(words("admin.help", who.locale), private=True)
    return Reply(words(f"admin.{action.lower()}", who.locale), private=True)


async def _status(context: Context, locale: str) -> str:
    status = await context.engine.status()
    switches = await context.services.places.switched()
    reports = len(await context.services.feedback.reports())
    workers = ", ".join(f"{medium}: {state}" for medium, state in status.workers.items())
    none = words("admin.none", locale)
    facts = {"workers": workers or none, "owner": status.owner}
    switched = ", ".join(switches) or words("admin.nothing", locale)
    return "\n".join([
        wording.queue(status, locale),
        words("admin.workers", locale, **facts),
        words("admin.switched", locale, switches=switched),
        words("admin.reported" if reports else "admin.no_reports", locale, count=reports),
    ])  # fmt: skip


async def _reports(context: Context, locale: str) -> str:
    reports = await context.services.feedback.reports(10)
    job, reason = words("admin.no_answer", locale), words("admin.no_reason", locale)
    lines = [f"{row.job_id or job}: {defang(row.reason or reason)}" for row in reports]
    return "\n".join(lines) or words("admin.no_reports", locale)
