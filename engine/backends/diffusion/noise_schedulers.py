"""The schedulers that a card may name, made from the base's own settings."""

from typing import Any

from engine.errors import ModelError
from engine.plan.picture import Scheduler

CLASSES = {
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}
FEW_STEPS = ("lcm", "tcd")  # these space their few steps themselves


def build_scheduler(own: Any, name: Scheduler, steps: int, device: str, *, fast: bool) -> Any:
    """Make a fresh scheduler with its timesteps set; `own` is the base's, whose noise levels it keeps.

    A few-step LoRA (`fast`) is trained on timesteps that end at the noisiest ("trailing"; see the model
    card of SDXL-Lightning). Raises ModelError for steps that the scheduler cannot take.
    """
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
