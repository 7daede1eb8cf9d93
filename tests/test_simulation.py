"""Rehearsals: made-up people go through the real path to its end, with what was put in."""

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from flows import FLOW, make_flow
from test_comparing import rows

from bot.chat import make_context
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from bot.study.simulated_person import Effects, SimulatedClock
from bot.study.simulation import Simulation
from engine.moderation.chain import usual
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.experiments.tables import Enrolment, Exposure, Vote


@pytest.mark.parametrize(
    ("people", "at_once", "least"),
    [(6, 3, 3), pytest.param(14, 7, 6, marks=pytest.mark.long)],
)
async def test_made_up_people_go_through_a_flow_to_its_end_in_their_own_time(
    tmp_path: Path, people: int, at_once: int, least: int
) -> None:
    here = Settings(
        home=tmp_path / "home", backend="echo", key_file=tmp_path / "key", study="pilot"
    )
    own = '[[step]]\nkind = "compare"\nid = "own"\n\n[[step]]\nkind = "questions"\nid = "last"'
    text = FLOW.replace("often = 2", "often = 9")
    text += '[[arms]]\nname = "lora"\n\n[[arms]]\nname = "base"\nplain = true\n'
    make_flow(here.home, text.replace('[[step]]\nkind = "questions"\nid = "last"', own))
    clock, free = SimulatedClock(), PlatformSettings(asker_burst=0, place_burst=0, asker_waiting=0)
    async with open_engine(here) as core, open_services(here, clock=clock) as services:
        talk = ChatService(make_context(core, services, usual(), free))
        effects = Effects(win=0.99, dprime=4.0, drop_out=0.02)
        simulation = Simulation(talk=talk, seed=7, clock=clock, rounds=None, effects=effects)
        await simulation.run(people, at_once, lambda: None)
        enrolled = await rows(talk, Enrolment, experiment="tell")
        done = [row for row in enrolled if row.completed_at is not None]
        assert len(done) == simulation.counts["completed"] - sum(
            row.excluded == "its quota was full" for row in enrolled
        )
        assert len(done) >= least and simulation.counts["left"] >= 1
        assert min(row.completed_at - row.at for row in done) > 60, "people take their time"
        judged = await rows(talk, Exposure, experiment="tell", state="voted")
        seen = Counter(row.item for row in judged if row.step == "pairs")
        assert sum(row.step == "own" for row in judged) == len(done), "one of their own wish"
        assert max(seen.values()) - min(seen.values()) <= 3, "each is judged about as often"
        async with services.ledger.reading() as connection:
            query = sa.select(Vote.choice, Exposure.shown).join(
                Exposure, Exposure.id == Vote.exposure_id
            )
            votes = (await connection.execute(query.where(Vote.choice.in_(("a", "b"))))).all()
        chosen = Counter(row.shown["ab".index(row.choice)]["arm"] for row in votes)
        assert chosen["model"] > 4 * chosen["person"], "what was put in comes out"
