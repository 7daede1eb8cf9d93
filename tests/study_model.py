"""What a study is to know by a few lists: the model that tests/study_machine.py is held against."""

from dataclasses import dataclass, field

from engine.study.study import ConsentText

PEOPLE = (("telegram", "ann"), ("telegram", "bob"), ("discord", "ann-too"))

Person = tuple[str, str]


@dataclass
class Row:
    """An interaction as the model has it."""

    person: Person
    job: str
    parent: str | None
    began: bool
    state: str = "queued"
    output: bool = False
    picture: str = ""


@dataclass
class Asked:
    """A job as the model has it."""

    person: Person
    place: str
    request: str
    private: bool
    parent: str | None
    accepted_at: float
    running: bool = True
    finished: bool = False
    finished_at: float = 0.0
    picture: str = ""
    blank: bool = False
    cut: bool = False  # it has lost the words that it took over
    nobodys: bool = False  # nothing says whose it was


@dataclass
class Form:
    """A form that somebody was shown: what was on record then, and the text it asked about."""

    person: Person
    name: str
    text: ConsentText
    after: int
    life: int


@dataclass
class Model:
    """All that should be so. `log` has each person's words in order: a text's digest, or "" at the
    end of it; `lives` counts how often they were forgotten."""

    log: dict[Person, list[str]] = field(default_factory=lambda: {p: [] for p in PEOPLE})
    linkage: dict[Person, bool] = field(default_factory=lambda: dict.fromkeys(PEOPLE, False))
    lives: dict[Person, int] = field(default_factory=lambda: dict.fromkeys(PEOPLE, 0))
    on: set[str] = field(default_factory=set)
    rows: dict[str, Row] = field(default_factory=dict)  # by job
    jobs: dict[str, Asked] = field(default_factory=dict)
    forms: list[Form] = field(default_factory=list)
    saved: set[str] = field(default_factory=set)
    codes: list[tuple[Person, str, float]] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=lambda: {"ratings": 0, "events": 0})

    def granted(self, person: Person) -> bool:
        return bool(self.log[person] and self.log[person][-1])
