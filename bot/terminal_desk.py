"""The study in a terminal: the same commands and buttons, each button a number to type."""

import logging
from collections.abc import AsyncGenerator

from bot.buttons import Button
from bot.conversation import Said, Who
from bot.grammar import STUDY, Again, Command, Continue, Generate, Simple
from bot.pairs import stop
from bot.settings import PlatformSettings
from bot.studying import COMMANDS
from bot.talk import Talk
from engine import Engine
from engine.desk.desk import Desk
from engine.errors import AskerError, PasticheError
from engine.events import Event, Finished
from engine.moderation.chain import usual

log = logging.getLogger(__name__)

HERE = frozenset((*COMMANDS, *STUDY, "forget"))  # plain commands that need a desk


class TerminalDesk:
    """Talk, without the limits that many people need, and the buttons shown last."""

    def __init__(self, core: Engine, desk: Desk) -> None:
        limits = PlatformSettings(asker_burst=0, place_burst=0, asker_waiting=0)
        self._talk = Talk(core, desk, usual(), limits)
        self._shown: list[Button] = []
        self._who = Who(platform="terminal", asker="", place="")

    async def keep_house(self) -> None:
        """One round of retention while a study runs: nobody else may be serving here."""
        if self._talk.desk.agreements.study is not None:
            await self._talk.desk.clean()

    def answers(self, command: Command) -> bool:
        """Whether a command is for here, and not for the experts alone."""
        if isinstance(command, Simple):
            study = self._talk.desk.agreements.study is not None
            return command.name in HERE or (study and command.name == "privacy")
        return not isinstance(command, Generate | Again | Continue)

    def say(self, command: Command, who: Who) -> AsyncGenerator[Event | Said]:
        """See Talk.say."""
        self._who = who
        return self._talk.say(command, who)

    async def pressed(self, text: str, who: Who) -> Said | AsyncGenerator[Event | Said] | None:
        """The reply to the number of a button that is shown; None for anything else."""
        number = text.strip().removeprefix("/")  # a line of a pipe begins a request with it
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= len(self._shown)):
            return None
        return await self._talk.press(self._shown[int(number) - 1].press, who)

    def offer(self, said: Said) -> list[str]:
        """The reply's buttons as lines; from now on their numbers count."""
        self._shown = [button for row in said.choices for button in row]
        return [f"[{n}] {button.label}" for n, button in enumerate(self._shown, 1)]

    @property
    def treats(self) -> bool:
        """Whether ordinary requests may belong to an experiment."""
        lab = self._talk.desk.lab
        return lab is not None and any(e.task == "single" for e in lab.experiments.all)

    async def cancel(self, job: str) -> bool:
        """Whether that answer, or pair of answers, was still to be stopped."""
        if job == self._talk.pairs.under_way(self._who):
            return await stop(self._talk, job, self._who)
        return await self._talk.core.cancel(job)

    async def delivered(self, job: str) -> None:
        """See Talk.delivered."""
        await self._talk.delivered(job)

    async def footer(self, final: Finished) -> str:
        """See Talk.footer."""
        return await self._talk.footer(final)

    async def invitation(self, who: Who, job: str = "") -> Said | None:
        """See Talk.invitation; never in the way of an answer."""
        try:
            return await self._talk.invitation(who, job)
        except (AskerError, PasticheError) as error:
            log.info("nobody was invited", extra={"why": type(error).__name__})
            return None

    async def arrived(self, said: Said) -> None:
        """It is shown."""
        await self._talk.arrived(said.receipt)
