"""Draw with base and LoRA as anyone would load it, and take every measure of what came out."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.backends.diffusion.pipeline import tile
from engine.weights.picture_lora import check_lora
from training.errors import BadCorpus, NotPublished
from training.images.bases import load_pipeline, noise_schedule, resolution_of
from training.images.data.folder import Picture, open_picture, read_folder
from training.images.data.latent_cache import Cache, Embeddings, Latents
from training.images.data.samples import Samples, words_of
from training.images.drawing.generation import DrawRequest, draw, without_lora
from training.images.evaluation.attributes import RenderJudge, accuracy, is_known
from training.images.evaluation.memory import features_of, memory_of
from training.images.lora_files import WEIGHTS
from training.images.losses import Denoiser, held_out_losses, times_of
from training.images.recipe import ImageRecipe, require_image_training
from training.run.record import read_record
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


class Measures:
    def __init__(
        self,
        recipe: ImageRecipe,
        run: Path,
        base: Path | None,
        told: Callable[[str], None],
        judge: Path | None,
    ) -> None:
        """Load a run's LoRA upon its base; raises NotPublished when the run has none."""
        folder = Path(recipe.data.folder).expanduser()
        require_image_training(recipe, folder)
        if not (run / "lora" / WEIGHTS).is_file():
            raise NotPublished(
                f"{recipe.run.name} has no LoRA yet. Run `python -m training.train_image` first."
            )
        check_lora(run / "lora")
        self.recipe, self.run, self.told = recipe, run, told
        self.pictures = read_folder(folder, recipe.data, recipe.run.seed, time.time())
        trained = read_record(run).get("stages", {}).get("train_image", {})
        if trained.get("data") != self.pictures.digest:
            raise BadCorpus("Its training saw other pictures. Restore them, or train again.")
        self.pipeline: Any = load_pipeline(recipe, base)
        self.resolution = resolution_of(recipe, self.pipeline)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.pipeline.load_lora_weights(run / "lora", weight_name=WEIGHTS, adapter_name="lora")
        self.pipeline.to(self.device)
        self.judge = RenderJudge(judge) if judge else None

    @cached_property
    def train(self) -> list[Image.Image]:
        return [small(open_picture(picture.path)) for picture in self.pictures.train]

    @cached_property
    def held(self) -> list[Image.Image]:
        return [small(open_picture(picture.path)) for picture in self.pictures.held_out]

    def held_out(self) -> dict[str, Any]:
        """Measure the held-out loss of base and LoRA, whole and by timestep; empty without pictures."""
        chosen = spread(self.pictures.held_out, self.recipe.validation.pictures)
        if not chosen:
            return {}
        pipeline = self.pipeline
        cache = Cache(self.run / "cache", self.pictures.due)
        latents = Latents(cache, pipeline.vae, self.device)
        embeddings = Embeddings(cache, pipeline, self.device)
        samples = Samples(chosen, self.recipe.data, self.resolution, 1, latents, embeddings)
        schedule = noise_schedule(pipeline)
        denoiser = Denoiser(pipeline.unet, schedule, self.device, pipeline.unet.dtype, embeddings)
        with without_lora(pipeline):
            base = held_out_losses(denoiser, self.recipe, samples)
        lora = held_out_losses(denoiser, self.recipe, samples)
        times = times_of(len(schedule.alphas_cumprod), self.recipe.validation.times)
        return {
            "pictures": len(chosen),
            "times": times,
            "base": {"loss": float(base[1].mean()), "by_time": base[0].tolist()},
            "lora": {"loss": float(lora[1].mean()), "by_time": lora[0].tolist()},
        }

    def side_by_side(self) -> tuple[list[DrawRequest], dict[str, list[Image.Image]]]:
        prompts, seeds = prompts_of(self.recipe), self.recipe.validation.seeds
        wishes = [DrawRequest(prompt, seed) for prompt in prompts for seed in seeds]
        return wishes, self.drawn(wishes, "side by side")

    def asked(self, count: int) -> tuple[list[Picture], list[DrawRequest]]:
        chosen = list(spread(self.pictures.held_out or self.pictures.train, count))
        tokenizers = (self.pipeline.tokenizer, self.pipeline.tokenizer_2)
        seed = self.recipe.run.seed
        return chosen, [
            DrawRequest(
                words_of(picture, tokenizers).text, draw_key(seed, "evaluation", number) % 2**31
            )
            for number, picture in enumerate(chosen)
        ]

    def drawn(self, wishes: Sequence[DrawRequest], what: str) -> dict[str, list[Image.Image]]:
        made: dict[str, list[Image.Image]] = {}
        shown = self.recipe.validation
        if self.recipe.training.low_memory:
            tile(self.pipeline.vae)
        for writer in WRITERS:
            made[writer] = []
            with nullcontext() if writer == "lora" else without_lora(self.pipeline):
                for picture in draw(self.pipeline, wishes, shown, shown.size or self.resolution):
                    made[writer].append(picture)
                    self.told(f"{what}: {writer}, {len(made[writer])} of {len(wishes)}")
        return made

    def memory(self, made: dict[str, list[Image.Image]]) -> dict[str, Any]:
        self.told("looking for training pictures given back")
        train = features_of(self.train)
        held = features_of(self.held) if self.held else []
        found = {writer: memory_of(made[writer], self.train, train, held) for writer in WRITERS}
        if self.held:
            found["photographs"] = memory_of(self.held, self.train, train, [])
        return found

    def detail(self, made: dict[str, list[Image.Image]]) -> dict[str, float]:
        """Compare the finest detail of drawn pictures with the photographs' (1: as much)."""
        real = max(fine_detail(self.held or self.train), 1e-9)
        return {writer: fine_detail(map(small, made[writer])) / real for writer in WRITERS}

    def attributes(
        self, chosen: Sequence[Picture], made: dict[str, list[Image.Image]]
    ) -> dict[str, Any]:
        """Tell how often each attribute came out as asked, and how far the judge can be trusted."""
        asked = sum(is_known(picture.facts) for picture in chosen)
        if self.judge is None or not asked:
            return {}
        self.told("judging attributes")
        found: dict[str, Any] = {"asked": asked}
        held = self.pictures.held_out
        for part, shown in (("photographs", self.held), *made.items()):
            pairs = zip(shown, held if part == "photographs" else chosen, strict=True)
            known = [(picture, about.facts) for picture, about in pairs if is_known(about.facts)]
            if known:
                seen = self.judge.attributes([picture for picture, _ in known])
                wanted = [{name: facts[name] for name in seen[0]} for _, facts in known]
                found[part] = accuracy(wanted, seen)
        return found


def fine_detail(pictures: Iterable[Image.Image]) -> float:
    """Average the finest Laplacian level of grey pictures: what a half-size copy has lost."""
    lost = []
    for picture in pictures:
        grey = picture.convert("L")
        half = grey.resize((grey.width // 2, grey.height // 2), Image.Resampling.BOX)
        back = half.resize(grey.size, Image.Resampling.BILINEAR)
        lost.append(np.abs(np.asarray(grey, float) - np.asarray(back, float)).mean())
    return float(np.mean(lost))


def small(picture: Image.Image) -> Image.Image:
    """Copy a picture, its longer side at most SIDE pixels."""
    made = picture.copy()
    made.thumbnail((SIDE, SIDE))
    return made


def prompts_of(recipe: ImageRecipe) -> tuple[str, ...]:
    own = (recipe.data.instance_prompt, *recipe.validation.prompts)
    return tuple(dict.fromkeys((BRACELET, NECKLACE, *own)))
