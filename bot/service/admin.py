"""/settings, by those who may manage a place, and /admin, by those who run the bot."""

from dataclasses import replace

from bot.locales import words
from bot.messages import wording
from bot.messages.grammar import Simple
from bot.service.admission import operates, place_of
from bot.service.context import Context
from bot.service.request import Reply, Who
from engine.errors import AskerError, CommandError

KINDS = ("asker", "place", "server")
ADMIN_HELP = """/admin status: the queue, the workers, what is switched
/admin pause, /admin resume: take nothing new, or again
/admin drain: stop this process; what runs is finished or taken up by the next
/admin block, allow, clear + asker, place or server + ID: keep out, let in (then only those), undo
/admin reports: the newest"""


async def settle(context: Context, command: Simple, who: Who) -> Reply:
    """Show or change the place's settings. Raises AskerError."""
    place, topic = await place_of(context, who), command.topic
    if not topic:
        on = words("talk.on" if place.talk_on else "talk.off", who.locale)
        style = place.style or words("talk.none", who.locale)
        shown = words("talk.settings_shown", who.locale, style=style, talk_on=on)
        return Reply(shown, private=True)
    if not (who.private or who.manager or operates(context, who)):
        raise AskerError(words("talk.not_manager", who.locale))
    what, _, value = topic.partition(" ")
    match what.lower(), value.strip().lower():
        case "style", "none":
            place, key = replace(place, style=""), "talk.settings_no_style"
        case "style", name if name:
            place, key = replace(place, style=_style(context, name)), "talk.settings_style"
        case "talk", "on":
            if not context.settings.message_content:
                raise AskerError(words("talk.settings_talk_never", who.locale))
            place, key = replace(place, talk_on=True), "talk.settings_talk_on"
        case "talk", "off":
            place, key = replace(place, talk_on=False), "talk.settings_talk_off"
        case _:
            raise CommandError(
                "Please send /settings style NAME, /settings style none, /settings talk on, or "
                "/settings talk off. /styles lists the names."
            )
    owner = who.asker if who.private else None
    await context.desk.places.settle(who.platform, who.place, place, owner)
    done = words(key, who.locale, style=place.style)
    return Reply(words("talk.settings_done", who.locale, what=done), private=True)


def _style(context: Context, name: str) -> str:
    """The card of that name. Raises CommandError."""
    for expert in context.registry.experts:
        if name in (expert.name, *(alias.lower() for alias in expert.aliases)):
            return expert.name
    known = ", ".join(expert.name for expert in context.registry.experts)
    raise CommandError(f"There is no style “{name[:40]}” here. There are: {known}.")


async def administer(context: Context, command: Simple, who: Who) -> Reply:
    """An operator's command. Raises AskerError for anybody else."""
    if not operates(context, who):
        raise AskerError(words("talk.not_operator", who.locale))
    topic = command.topic
    action, *rest = topic.lower().split()[:1] + topic.split()[1:] or ["status"]
    match action, rest:
        case "status", []:
            return Reply(await _status(context), private=True)
        case "pause", []:
            await context.desk.places.switch("paused", "on")
            return Reply("Paused: nothing new is taken. /admin resume ends that.", private=True)
        case "resume", []:
            await context.desk.places.switch("paused", "")
            return Reply("Going on.", private=True)
        case "drain", []:
            context.lifecycle.stop()
            return Reply("Draining: this process takes nothing new and ends.", private=True)
        case "reports", []:
            return Reply(await _reports(context), private=True)
        case (("block" | "allow" | "clear"), [kind, name]) if kind.lower() in KINDS:
            rule = {"block": "deny", "allow": "allow", "clear": ""}[action]
            await context.desk.places.rule(who.platform, kind.lower(), name, rule)
            return Reply(f"Done: {action} {kind.lower()} {name}.", private=True)
        case _:
            return Reply(ADMIN_HELP, private=True)


async def _status(context: Context) -> str:
    status = await context.engine.status()
    switches = await context.desk.places.switched()
    workers = ", ".join(f"{medium}: {state}" for medium, state in status.workers.items()) or "none"
    reports = await context.desk.feedback.reports()
    lines = [
        wording.queue(status),
        f"Workers: {workers}. Owner: process {status.owner}.",
        f"Switched on: {', '.join(switches) or 'nothing'}.",
        f"Reports: {len(reports)} of late; /admin reports shows them."
        if reports
        else "No reports.",
    ]
    return "\n".join(lines)


async def _reports(context: Context) -> str:
    reports = await context.desk.feedback.reports(10)
    if not reports:
        return "No reports."
    return "\n".join(
        f"{row.job_id or 'no answer'}: {row.reason or 'no reason given'}" for row in reports
    )
