"""What people do on the loopback Discord: commands, buttons, mentions, private messages."""

from typing import Any

from discord_gateway import DIRECT_MESSAGES, GUILD_MESSAGES, MESSAGE_CONTENT
from discord_server import DiscordServer
from discord_world import (
    ALICE,
    APP,
    CHANNEL,
    GUILD,
    RIGHTS,
    Interaction,
    Message,
    user,
)

MEMBER = str((1 << 10) | (1 << 11))
KINDS = {str: 3, int: 4, bool: 5, float: 10}


class People:
    """Everybody on one server. `locale` is what their programs are set to."""

    def __init__(self, discord: DiscordServer) -> None:
        self.discord = discord
        self.locale = "en-US"

    async def slash(
        self, command: str, *, by: str = ALICE, at: str = CHANNEL, **options: Any
    ) -> Interaction:
        """A slash command that is synced, with options that it has."""
        known = self.command(command)
        given = [{"name": n, "type": KINDS[type(v)], "value": v} for n, v in options.items()]
        types = {option["name"]: option["type"] for option in known.get("options") or ()}
        for option in given:
            assert types[option["name"]] == option["type"], (command, option)
        data = {"id": known["id"], "name": command, "type": 1, "options": given}
        return await self._interact(2, data, by, at)

    async def type_ahead(
        self, command: str, option: str, typed: str, *, by: str = ALICE, at: str = CHANNEL
    ) -> list[dict[str, Any]]:
        """The choices that come up while an option is typed."""
        focused = {"name": option, "type": 3, "value": typed, "focused": True}
        data = {"id": self.command(command)["id"], "name": command, "type": 1, "options": [focused]}
        made = await self._interact(4, data, by, at)
        await self.discord.wait(lambda: made.callback is not None, 5)
        return list(made.callback_data["choices"])

    async def press(self, message: Message, label: str, *, by: str = ALICE) -> Interaction:
        """A button by its label, or by its custom_id."""
        data = {"custom_id": message.buttons.get(label, label), "component_type": 2}
        return await self._interact(3, data, by, message.channel, message)

    async def say(
        self,
        text: str,
        *,
        by: str = ALICE,
        at: str = CHANNEL,
        reply_to: Message | None = None,
        ping: bool = True,
        files: tuple[tuple[str, bytes], ...] = (),
        **more: Any,
    ) -> Message:
        """An ordinary message; `@bot` in it is a mention, and a reply pings unless told not to.
        `more` stands in its wire form."""
        discord = self.discord
        made = Message(discord.new_id(), at, by, text.replace("@bot", f"<@{APP}>"))
        made.files += files
        made.reply_to = reply_to.id if reply_to else None
        discord.messages[made.id] = made
        wire = discord.message(made) | more
        private = at in discord.privates
        mentioned = f"<@{APP}>" in made.content or bool(
            ping and reply_to and reply_to.author == APP
        )
        if mentioned:
            wire["mentions"] = [user(APP)]
        session = discord.gateway.session
        assert session is not None
        if not private:
            wire |= {"guild_id": GUILD, "member": _member(by) | {"user": user(by)}}
        if not (private or mentioned or session.intents & MESSAGE_CONTENT):
            wire |= {"content": "", "attachments": [], "embeds": [], "components": []}
        if session.intents & (DIRECT_MESSAGES if private else GUILD_MESSAGES):
            await discord.gateway.dispatch("MESSAGE_CREATE", wire)
        return made

    async def tell(self, text: str, *, by: str = ALICE, **more: Any) -> Message:
        """A private message to the bot."""
        return await self.say(text, by=by, at=self.discord.private(by), **more)

    def command(self, name: str) -> dict[str, Any]:
        """The synced command of that name."""
        for command in self.discord.commands:
            if command["name"] == name:
                return command
        raise AssertionError(f"{name} is not among {[c['name'] for c in self.discord.commands]}")

    def payload(
        self, made: Interaction, data: dict[str, Any], *, user_installed: bool = False
    ) -> dict[str, Any]:
        """INTERACTION_CREATE as it goes over the wire."""
        discord = self.discord
        private = made.channel in discord.privates
        wire: dict[str, Any] = {
            "id": made.id, "application_id": APP, "type": made.kind, "data": data, "token": made.token,
            "version": 1, "channel_id": made.channel, "channel": discord.channel(made.channel),
            "locale": self.locale, "context": 1 if private else 0, "entitlements": [],
            "attachment_size_limit": discord.upload_limit, "app_permissions": MEMBER,
            "authorizing_integration_owners": {"1": made.user} if user_installed else {"0": GUILD},
        }  # fmt: skip
        if private:
            wire["user"] = user(made.user)
        else:
            wire |= {
                "guild_id": GUILD,
                "guild_locale": "en-US",
                "guild": {"id": GUILD, "locale": "en-US"},
            }
            wire["member"] = _member(made.user) | {"user": user(made.user)}
        if made.source is not None:
            wire["message"] = discord.message(made.source)
        return wire

    async def _interact(
        self, kind: int, data: dict[str, Any], by: str, at: str, source: Message | None = None
    ) -> Interaction:
        name = self.discord.new_id()
        made = Interaction(name, f"aW50ZXJhY3Rpb24{name}", kind, at, by, source=source)
        self.discord.interactions[made.token] = made
        await self.discord.gateway.dispatch("INTERACTION_CREATE", self.payload(made, data))
        return made


def _member(name: str) -> dict[str, Any]:
    permissions = str(int(MEMBER) | RIGHTS.get(name, 0))
    stamp = "2026-11-22T12:00:00+00:00"
    return {"roles": [], "joined_at": stamp, "flags": 0, "deaf": False, "mute": False,
            "permissions": permissions}  # fmt: skip
