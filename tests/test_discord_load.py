"""Many people at once on Discord. The figures themselves are measured by tests/benchmarks."""

from pathlib import Path

import pytest
from discord_crowd import acknowledgements, queue_up
from discord_program import served
from discord_world import ALICE, APP, BOB, CHANNEL, UNANSWERED


@pytest.mark.slow
async def test_with_a_long_queue_every_command_is_acknowledged_in_time(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, PASTICHE_MAX_WAITING="5000") as (_, people):
        queued = await queue_up(people, 200)
        seconds = await acknowledgements(people, 40)
        assert max(seconds) < UNANSWERED, sorted(seconds)[-5:]
        in_line = [m for made in queued for m in made.brought if "before you" in m.content]
        assert in_line, "nobody was told their place"


@pytest.mark.slow
async def test_in_a_rush_the_queue_is_told_before_every_request_is_in_it(tmp_path: Path) -> None:
    async with served(tmp_path, PASTICHE_MAX_WAITING="5000") as (_, people):
        rush = [await people.slash("story", text=f"::slow:: a b c d e {n}") for n in range(150)]
        asked = await people.slash("queue", by=BOB)
        await people.discord.wait(lambda: any(m.content for m in asked.brought), 60)
        assert not all(any(m.content for m in made.brought) for made in rush)


@pytest.mark.slow
async def test_a_flood_is_not_answered_by_a_flood_and_others_are_served(tmp_path: Path) -> None:
    usual = {"PASTICHE_ASKER_BURST": "30", "PASTICHE_ASKER_WAITING": "4"}
    async with served(tmp_path, **usual) as (_, people):
        discord = people.discord
        for n in range(60):
            await people.say(f"@bot ::slow:: a b c d e f g {n}", by=ALICE)
        made = await people.slash("story", text="It rained.", by=BOB)
        await discord.wait(lambda: any("AI-generated" in m.content for m in made.brought), 60)
        told = [m for m in discord.in_channel(CHANNEL) if m.author == APP and m.reply_to]
        assert len(told) <= 8, [m.content for m in told]
