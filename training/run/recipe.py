"""A recipe: the one strict TOML file that says everything about a run."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from training.errors import BadRecipe, NotAllowed
from training.run.tables import Base, Corpus, ExpertTable, Rights, Run, Table, TextLora, Training
from training.sources.origins import Origin

LOCAL = "local folder"  # what a record says in place of a path
KINDS = {  # the table that tells a recipe's kind, and the stage that takes it
    "source": "train_text",
    "data": "train_image",
    "harvest": "harvest_vam",
    "pictures": "train_base_image",
}


class RunRecipe(Table):
    """Say what a run is called and why its material may be used; every kind of recipe has this."""

    places: ClassVar[tuple[tuple[str, str], ...]] = ()  # what may name a folder of this machine
    run: Run
    rights: Rights

    @property
    def digest(self) -> str:
        """Hash the recipe without places on this machine. What is left at its default does not count:
        each new key would part every card from its recipe."""
        return digest_of_values(self.recorded(exclude_defaults=True))

    def recorded(self, **options: Any) -> dict[str, Any]:
        """Give what a record may hold: every value, but no place on this machine."""
        values = self.model_dump(mode="json", **options)
        for table, key in self.places:
            if values.get(table, {}).get(key):
                values[table][key] = placeless(values[table][key])
        return values

    def require_allowed(self, what: str) -> None:
        """Raise NotAllowed unless the recipe states a basis and allows training."""
        mend = "copy the recipe, write your basis into [rights] basis and set train_allowed = true"
        rights = self.rights.model_dump(mode="json")
        require_allowed(rights, f"The recipe {self.run.name!r}", what, mend)

    def digest_of_tables(
        self, names: tuple[str, ...], leave_out: frozenset[str] = frozenset()
    ) -> str:
        """Hash what a checkpoint depends on; fields left at their defaults do not count."""
        parts: dict[str, Any] = {"seed": self.run.seed}
        for name in names:
            table = getattr(self, name).model_dump(mode="json", exclude_defaults=True)
            parts[name] = {
                key: table[key] for key in table if not {key, f"{name}.{key}"} & leave_out
            }
        return digest_of_values(parts)


class Recipe(RunRecipe):
    places = (("base", "id"), ("source", "dataset"), ("lora", "start"))
    expert: ExpertTable
    source: Annotated[Origin, Field(discriminator="kind")]
    base: Base
    corpus: Corpus = Corpus()
    lora: TextLora = TextLora()
    training: Training = Training()

    @model_validator(mode="after")
    def _kept_of_something(self) -> Self:
        if self.lora.kept and not (self.lora.start and self.training.choose == "last"):
            raise ValueError('[lora] kept needs a start, and training.choose = "last"')
        return self

    def recorded(self, **options: Any) -> dict[str, Any]:
        values = super().recorded(**options)
        values["source"].pop("path", None)
        return values

    @property
    def training_digest(self) -> str:
        return self.digest_of_tables(("base", "lora", "training"), frozenset({"start"}))


def require_allowed(rights: dict[str, Any], whose: str, what: str, mend: str) -> None:
    """Raise NotAllowed when rights state no basis, or do not allow training."""
    basis, allowed = str(rights.get("basis") or "").strip(), rights.get("train_allowed") is True
    if allowed and basis:
        return
    why = "it states no basis" if allowed else "train_allowed is not true"
    raise NotAllowed(
        f'{whose} may not be trained on: {why}.\nWhat is said of the rights: "{basis or "(nothing)"}" '
        f"(licence: {rights.get('licence') or 'none'}).\n"
        f"If you hold the right to train on these {what}, {mend}. If you do not, choose others."
    )


def placeless(name: str) -> str:
    """Give a hub id as it is; a folder of this machine as no more than that.

    >>> placeless("google/gemma-2-2b-it"), placeless("/")
    ('google/gemma-2-2b-it', 'local folder')
    """
    return LOCAL if name.startswith(("/", ".", "~")) or Path(name).exists() else name


def digest_of_values(values: Any) -> str:
    """Hash a JSON-able value, independent of key order."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


Kind = TypeVar("Kind", bound=Table)


def load_recipe(path: Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe; `changes` are `table.key=value` strings, their values in TOML."""
    return read_recipe(path, changes, Recipe)


def read_recipe(path: Path, changes: tuple[str, ...], kind: type[Kind]) -> Kind:
    values = read_toml(path)
    for table, stage in KINDS.items():
        if table in values and table not in kind.model_fields:
            raise BadRecipe(
                f"{path.name} is another kind of recipe, by its [{table}]: use it with "
                f"`python -m training.{stage}`."
            )
    for change in changes:
        apply_change(values, change)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise BadRecipe(f"{path.name} cannot be used:\n{explain(error)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadRecipe(f"There is no recipe at {path}. Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path.name} is not valid TOML: {error}. Correct that line.") from error


def apply_change(values: dict[str, Any], change: str) -> None:
    """Put one `table.key=value` into the parsed recipe; rights are stated in a file or not at all."""
    target, sign, text = change.partition("=")
    *tables, key = target.strip().split(".")
    if not sign or not tables:
        raise BadRecipe(f"--set {change!r} should look like --set training.batch=2.")
    if tables[0].strip() == "rights":
        raise NotAllowed(
            f"--set cannot change [rights] ({change!r}): rights are stated in a recipe, not in "
            "passing. Copy the recipe, write them there, and run the copy."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for table in tables:
        values = values.setdefault(table, {})
    values[key] = value


def explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        said = "is not a known key" if fault["type"] == "extra_forbidden" else fault["msg"].lower()
        lines.append(f"  {place}: {said}")
    return "\n".join(lines)
