"""SIGKILLs spread over bots, worker hosts and workers, a crashing server, connections that are cut: how
many accepted jobs are lost, or answered in two ways. The short form is tests/test_queue_kills.py."""

import argparse
import os
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path

from engine.ledger.storage import upgrade
from engine.settings import Settings
from tests import postgres
from tests.benchmarks.figures import Figure, clock
from tests.fleet import Fleet, settle, verdict

OPTIONS = argparse.ArgumentParser(prog="queue_kills", description=__doc__)
OPTIONS.add_argument("--kills", type=int, default=20, help="SIGKILLs (20)")
OPTIONS.add_argument("--crashes", type=int, default=1, help="pg_ctl stop -m immediate (1)")
OPTIONS.add_argument("--cuts", type=int, default=1, help="times that all connections are cut (1)")
OPTIONS.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
OPTIONS.add_argument("--seed", type=int, default=1)
ANSWERS = 3  # between two kills: three deaths alone would be a job's own fault


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Counts; all but the kills and the accepted are to be 0."""
    draw = random.Random(options.seed)
    with ExitStack() as stack, clock() as taken:
        if options.database == "postgres":
            server = stack.enter_context(postgres.running(synced=True))
            name = server.create()
            settings = Settings(
                home=folder / "home", key_file=folder / "key", database_url=server.url(name)
            )
            url, worker_hosts = server.url(name), 2
        else:
            settings = Settings(home=folder / "home", key_file=folder / "key")
            url, worker_hosts = f"sqlite:///{settings.ledger_file}", 0
        upgrade(settings)
        environment = {
            "PASTICHE_HOME": str(settings.home),
            "PASTICHE_KEY_FILE": str(settings.key_file),
            "PASTICHE_BACKEND": "echo",
            "PASTICHE_LOST_AFTER": "3",
            "PASTICHE_DATABASE_URL": settings.database_url,
            "OMP_NUM_THREADS": "1",
        }
        os.environ.pop("PASTICHE_CONFIG", None)
        fleet = Fleet(folder, environment, bots=2, worker_hosts=worker_hosts)
        stack.callback(fleet.stop)
        fleet.get_on()
        crashes = cuts = 0
        faults = options.crashes + options.cuts if worker_hosts else 0
        every = max(1, options.kills // (faults + 1))
        while (done := sum(fleet.kills.values())) < options.kills:
            if faults and done >= every * (crashes + cuts + 1):
                if crashes < options.crashes:
                    server.stop(signal.SIGQUIT)
                    time.sleep(draw.uniform(0, 1))
                    server.start()
                    crashes += 1
                elif cuts < options.cuts:
                    server.kick(name)
                    cuts += 1
                else:
                    faults = 0
                fleet.get_on(ANSWERS)
            if fleet.kill(draw):
                fleet.get_on(ANSWERS)
                time.sleep(draw.uniform(0, 0.3))
        if worker_hosts:
            fleet.stop("bot")
        else:
            fleet.clear_up()
        settle(fleet, url)
        fleet.stop()
        found = verdict(fleet, url)
    kinds = ", ".join(f"{count} {kind}s" for kind, count in sorted(fleet.kills.items()))
    return [
        Figure(
            name="SIGKILLs",
            value=sum(fleet.kills.values()),
            unit="",
            against=f"{kinds}; {crashes} crashes, {cuts} cuts on {options.database}",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        ),
        Figure(name="jobs accepted", value=found["accepted"], unit=""),
        Figure(name="lost", value=found["lost"], unit="", against="aim 0"),
        Figure(name="with two answers", value=found["two answers"], unit="", against="aim 0"),
        Figure(name="given up as dead", value=found["dead"], unit="", against="aim 0"),
        Figure(
            name="ended otherwise than finished",
            value=found["jobs"] - found["finished"],
            unit="",
            against="aim 0",
        ),
    ]
