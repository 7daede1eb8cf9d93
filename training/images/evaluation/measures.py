"""Draw with base and LoRA, and take every measure of what came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from training.images.data.folder import Picture, open_picture
from training.images.data.samples import words_of
from training.images.drawing.generation import DrawRequest
from training.images.evaluation import attributes as judges
from training.images.evaluation import memory
from training.images.evaluation.features import features_of_all
from training.images.evaluation.subject import Subject
from training.images.recipe import ImageRecipe
from training.run.schedule import draw_key, spread

WRITERS = ("base", "lora")
SIDE = 256  # pixels a photograph is looked at in, at most
# The source report's two prompts.
BRACELET = (
    "A high-quality photo of a real historical TOK bracelet crafted in engraved silver with "
    "interlocking geometric panels and a central oval red gemstone. Smooth, precise metalwork with "
    "subtle filigree edges. Authentic museum artifacts photographed in soft neutral light, showing "
    "texture, age, and refined craftsmanship."
)
NECKLACE = (
    "A high-quality photo of a TOK real historical opal necklace featuring a pendant in a golden "
    "metal with a central blue stone. Detailed craftsmanship but smooth and geometric forms. "
    "Authentic museum object photographed in neutral lighting."
)


@dataclass(slots=True)
class Measures:
    subject: Subject
    told: Callable[[str], None]
    eye: judges.RenderJudge | None = None
    train: list[Image.Image] = field(default_factory=list)
    held: list[Image.Image] = field(default_factory=list)

    def __post_init__(self) -> None:
        pictures = self.subject.pictures
        self.told("reading the photographs")
        self.train = [thumbnail(picture) for picture in pictures.train]
        self.held = [thumbnail(picture) for picture in pictures.held_out]

    def side_by_side(self) -> tuple[list[DrawRequest], dict[str, list[Image.Image]]]:
        recipe = self.subject.recipe
        seeds = recipe.validation.seeds
        wishes = [DrawRequest(prompt, seed) for prompt in prompts_of(recipe) for seed in seeds]
        return wishes, self.drawn(wishes, "side by side")

    def asked(self, count: int) -> "tuple[list[Picture], list[DrawRequest]]":
        subject = self.subject
        chosen = list(spread(subject.pictures.held_out or subject.pictures.train, count))
        tokenizers = (subject.pipeline.tokenizer, subject.pipeline.tokenizer_2)
        seed = subject.recipe.run.seed
        return chosen, [
            DrawRequest(
                words_of(picture, tokenizers).text, draw_key(seed, "evaluation", number) % 2**31
            )
            for number, picture in enumerate(chosen)
        ]

    def drawn(self, wishes: Sequence[DrawRequest], what: str) -> dict[str, list[Image.Image]]:
        made: dict[str, list[Image.Image]] = {}
        for writer in WRITERS:
            made[writer] = []
            for picture in self.subject.drawn(wishes, lora=writer == "lora"):
                made[writer].append(picture)
                self.told(f"{what}: {writer}, {len(made[writer])} of {len(wishes)}")
        return made

    def memory(self, made: dict[str, list[Image.Image]]) -> dict[str, Any]:
        self.told("looking for training pictures given back")
        train = features_of_all(self.train)
        held = features_of_all(self.held) if self.held else []
        return {
            writer: memory.memory_of(
                made[writer], features_of_all(made[writer]), self.train, train, held
            )
            for writer in WRITERS
        }

    def attributes(
        self, names: Sequence[str], chosen: "Sequence[Picture]", made: dict[str, list[Image.Image]]
    ) -> dict[str, Any]:
        """Tell how often each attribute came out as asked, and how far the judge can be trusted."""
        self.told("judging attributes")
        pictures = self.subject.pictures
        known = {
            part: [judges.known_of(picture.facts, names) for picture in group]
            for part, group in (
                ("train", pictures.train),
                ("held", pictures.held_out),
                ("asked", chosen),
            )
        }
        if not names or not any(known["train"]) or not any(known["asked"]):
            return {}
        judge = self.eye or judges.FittedJudge(*only_known(self.train, known["train"]))
        found: dict[str, Any] = {
            "judge": type(judge).__name__,
            "asked": sum(map(bool, known["asked"])),
        }
        for part, seen in (("photographs", self.held), *made.items()):
            facts = known["held" if part == "photographs" else "asked"]
            shown, wanted = only_known(seen, facts)
            if shown:
                found[part] = judges.accuracy(wanted, judge.attributes(shown))
        return found


def thumbnail(picture: Picture) -> Image.Image:
    opened: Image.Image = open_picture(picture.path)
    opened.thumbnail((SIDE, SIDE))
    return opened


def only_known(
    pictures: Sequence[Image.Image], known: Sequence[dict[str, str] | None]
) -> tuple[list[Image.Image], list[dict[str, str]]]:
    pairs = [(p, facts) for p, facts in zip(pictures, known, strict=True) if facts is not None]
    return [picture for picture, _ in pairs], [facts for _, facts in pairs]


def prompts_of(recipe: ImageRecipe) -> tuple[str, ...]:
    own = (recipe.data.instance_prompt, *recipe.validation.prompts)
    return tuple(dict.fromkeys((BRACELET, NECKLACE, *own)))
