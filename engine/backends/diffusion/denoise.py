"""The denoising loop: pictures that share one pass through the UNet, each with its own noise.

Every picture has a scheduler, a generator and a place in its own list of timesteps, so what it becomes
depends on its seed alone, not on its company: pictures may join and leave between any two steps. Only
the rounding of a larger batch differs, by a level or two of 255 in float32.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.backends.diffusion.previews import estimate
from engine.backends.diffusion.prompt_encoder import EncodedPrompt
from engine.errors import ModelError
from engine.plan.picture import Scheduler

if TYPE_CHECKING:
    from torch import Generator, Tensor


CLASSES = {
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}
FEW_STEPS = ("lcm", "tcd")  # these space their few steps themselves


@dataclass(slots=True, eq=False)
class Canvas:
    """One picture under way; `latents`, and `guess` of what they become, are (1, 4, height / 8, width /
    8) in float32. A guidance of 1 or less takes no second pass."""

    seed: int
    size: tuple[int, int]
    words: EncodedPrompt
    away: EncodedPrompt | None
    guidance: float
    scheduler: Any
    wanted: int  # steps
    generator: "Generator" = field(init=False)
    latents: "Tensor" = field(init=False)
    guess: "Tensor" = field(init=False)
    step: int = 0
    begun: bool = False

    def start(self, cell: int, channels: int, device: str) -> None:
        """Draw the first noise, on the processor so that it is the same on every device."""
        import torch

        self.step, self.begun = 0, True
        self.generator = torch.Generator("cpu").manual_seed(self.seed)
        shape = (1, channels, self.size[1] // cell, self.size[0] // cell)
        noise = torch.randn(shape, generator=self.generator, dtype=torch.float32)
        self.scheduler.set_timesteps(self.wanted, device=device)  # forgets earlier steps
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(0)
        self.latents = self.guess = noise.to(device) * self.scheduler.init_noise_sigma

    @property
    def steps(self) -> int:
        return len(self.scheduler.timesteps)

    @property
    def ready(self) -> bool:
        return self.step >= self.steps

    @property
    def timestep(self) -> "Tensor":
        found: Tensor = self.scheduler.timesteps[self.step]
        return found

    def advance(self, noise: "Tensor") -> None:
        """Take the UNet's answer (1, 4, h, w) for this step."""
        made = self.scheduler.step(noise, self.timestep, self.latents, generator=self.generator)
        self.latents, self.guess = made.prev_sample.float(), estimate(made).float()
        self.step += 1


Pass = tuple[Canvas, EncodedPrompt]  # a row of the UNet: a picture, and the words it is seen with


def passes_of(canvases: list[Canvas]) -> list[Pass]:
    """Give a step's rows: each canvas with its words, then the guided ones with what they avoid."""
    return [(c, c.words) for c in canvases] + [(c, c.away) for c in canvases if c.away is not None]


def denoise(unet: Any, passes: list[Pass]) -> None:
    """Take one step of each canvas; all are of one size."""
    import torch

    kind, device = passes[0][1].states.dtype, passes[0][0].latents.device
    seen = [c.scheduler.scale_model_input(c.latents, c.timestep) for c, _ in passes]
    width, height = passes[0][0].size
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=kind, device=device)
    answer = unet(
        torch.cat(seen).to(kind),
        torch.stack([c.timestep.float() for c, _ in passes]).to(device),
        encoder_hidden_states=torch.cat([words.states for _, words in passes]),
        added_cond_kwargs={
            "text_embeds": torch.cat([words.pooled for _, words in passes]),
            "time_ids": time_ids.repeat(len(passes), 1),
        },
        return_dict=False,
    )[0].float()
    noises: dict[Canvas, list[Tensor]] = {}
    for (canvas, _), noise in zip(passes, answer.split(1), strict=True):
        noises.setdefault(canvas, []).append(noise)
    for canvas, (noise, *plain) in noises.items():
        canvas.advance(plain[0] + canvas.guidance * (noise - plain[0]) if plain else noise)


def build_scheduler(own: Any, name: Scheduler, steps: int, device: str, *, fast: bool) -> Any:
    """Make a fresh scheduler with the noise levels of the base's `own`. A few-step LoRA (`fast`) is
    trained on timesteps that end at the noisiest ("trailing"; SDXL-Lightning). Raises ModelError."""
    import diffusers

    kind = getattr(diffusers, CLASSES[name]) if name else type(own)
    options: dict[str, Any] = {}
    if fast and name not in FEW_STEPS:
        options["timestep_spacing"] = "trailing"
    if name == "ddim":
        options |= {"clip_sample": False, "set_alpha_to_one": False}  # its defaults are for pixels
    try:
        made = kind.from_config(own.config, **options)
        made.set_timesteps(steps, device=device)
    except ValueError as error:
        raise ModelError(
            f"The scheduler {name or kind.__name__} cannot draw in {steps} steps: {error}. Change "
            "steps or scheduler on the card."
        ) from error
    return made
