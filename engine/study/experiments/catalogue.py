"""The experiments of a study: frozen ones as their copy has them, the others as their files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engine.errors import SetupError
from engine.ledger.transactions import Database
from engine.plan.job import Spot
from engine.study.design.experiment_file import parse_experiment, read_experiment, version_of
from engine.study.experiments.eligibility import Candidate, takes
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.tables import ExperimentRow
from engine.study.study import Study

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Catalogue:
    """Know the experiments of one study: those frozen in the database, then the files beside them."""

    database: Database
    study: Study
    folder: Path
    problems: list[str] = field(default_factory=list)
    pools: dict[str, str] = field(default_factory=dict)  # digests of the stimuli, by pool
    frozen: dict[str, Any] = field(default_factory=dict)  # rows by their ids
    _texts: dict[str, str] = field(default_factory=dict)
    _known: dict[str, Experiment] = field(default_factory=dict)

    async def load(self) -> None:
        self.problems.clear()
        query = sa.select(ExperimentRow.__table__).where(ExperimentRow.study == self.study.id)
        self.frozen = {row.id: row for row in await self.database.rows(query)}
        self._texts = {name: row.file for name, row in self.frozen.items()}
        self._known = {}
        for name, text in self._texts.items():
            try:
                self._known[name] = parse_experiment(text, name)
            except SetupError as error:  # frozen by a program that knew other keys
                self._trouble(str(error))
        for path in sorted(self.folder.glob("*.toml")):
            try:
                experiment, text = read_experiment(path)
            except SetupError as error:
                self._trouble(str(error))
                continue
            row = self.frozen.get(experiment.id)
            if row is None:
                self._texts[experiment.id] = text
                self._known[experiment.id] = experiment
            elif row.version_sha256 != version_of(text):
                self._trouble(
                    f"{path.name} was changed after the first enrolment in {row.id}. The version that "
                    f"people were enrolled in ({row.version_sha256[:12]}) goes on from its copy in the "
                    "database; the file is not used. To change an experiment, stop it (pastiche study "
                    f"stop {row.id}) and give the new one another id."
                )

    def supply(self, pools: dict[str, str], problems: Sequence[str]) -> None:
        """Tell the digests of the stimuli; an experiment whose stimuli are not here is not used."""
        self.pools = pools
        for words in problems:
            self._trouble(words)
        for experiment in self.all:
            wanted = {step.stimuli for step in experiment.steps} - {"", *pools}
            of = {step.answers for step in experiment.steps} - {"", "*", *self._texts}
            for names, what in ((wanted, "are no stimuli"), (of, "is no experiment")):
                if names and experiment.id in self._known:
                    del self._known[experiment.id]
                    self._trouble(f"{experiment.id}: there {what} {', '.join(sorted(names))}.")

    def _trouble(self, words: str) -> None:
        self.problems.append(words)
        log.error("an experiment's file is not used: %s", words)

    @property
    def all(self) -> tuple[Experiment, ...]:
        return tuple(self._known[name] for name in sorted(self._known))

    def named(self, name: str) -> Experiment | None:
        return self._known.get(name)

    def text_of(self, name: str) -> str:
        """Give an experiment's file, frozen or not. Raises SetupError for none of that name."""
        if name not in self._known:
            known = ", ".join(sorted(self._known)) or "none"
            raise SetupError(f"There is no experiment {name!r} in this study; there is: {known}.")
        return self._texts[name]

    def fitting(self, spot: Spot, asking: Candidate) -> list[Experiment]:
        """List those that run today and take this in; whether they are stopped the database knows."""
        now, age = self.database.clock(), self.study.file.minimum_age
        return [e for e in self.all if e.runs(now) and takes(e, spot, asking, age)]
