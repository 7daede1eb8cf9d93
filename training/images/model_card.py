"""The model card of a LoRA for pictures."""

from typing import Any

from engine.weights.bases import SHIPPED
from training.images.lora_files import WEIGHTS
from training.images.recipe import ImageRecipe
from training.run.expert_card import facts_lines, folder_of
from training.run.recipe import placeless

OPEN_RAIL = (
    "The base is under the CreativeML Open RAIL++-M licence. Whoever hands this LoRA on hands on the "
    "use restrictions of its Attachment A with it."
)
NOT_MEASURED = "Not measured yet: run `python -m training.evaluate_image`."
CATALOGUE = (
    "What it draws never existed. A picture of it may look like a photograph from a museum's "
    "catalogue: say openly that it is machine-made, and never pass it off as an object or a record. "
    "It knows nothing of history; details that look like marks or inscriptions mean nothing."
)


def image_model_card(recipe: ImageRecipe, record: dict[str, Any], digest: str) -> str:
    base, expert = placeless(recipe.base.id), recipe.expert
    title, held = expert.title or expert.name, recipe.rights
    days = held.retention_days
    kept = f"They may be kept for {days:g} days, and are not part of this." if days else ""
    sdxl = "stable-diffusion-xl" in recipe.base.id
    stages = record.get("stages", {})
    done, measured = stages.get("train_image", {}), stages.get("evaluate_image", {})
    parts = [
        f"---\nbase_model: {base}\nlibrary_name: diffusers\n"
        f"tags: [lora, text-to-image, stable-diffusion-xl]\n"
        f"instance_prompt: {recipe.data.instance_prompt}\n---",
        f"# {title}: a LoRA for pictures",
        recipe.run.about,
        facts_lines(recipe, done, facts(recipe), digest),
        "## What it learnt from",
        learnt_from(done),
        "## Rights",
        held.words("Pictures", kept, held.where(), OPEN_RAIL if sdxl else ""),
        "## How it was made",
        how(recipe, done),
        "## How well it does",
        "\n".join(f"- {line}" for line in measured.get("lines", ())) or NOT_MEASURED,
        "## Use",
        use(recipe, base),
        "## Limits",
        CATALOGUE + (f" Show this line with each: “{expert.label}”." if expert.label else ""),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(recipe: ImageRecipe) -> str:
    """Say which parts were trained, and what else is loaded or said with the LoRA."""
    parts = "UNet and text encoders" if recipe.lora.text_encoders else "UNet only"
    vae = f"\n- VAE: `{placeless(recipe.base.vae)}`" if recipe.base.vae else ""
    token = f"\n- Its word: `{recipe.expert.token}`" if recipe.expert.token else ""
    return f", {parts}{vae}{token}"


def learnt_from(done: dict[str, Any]) -> str:
    if not done:
        return "See the recipe."
    apart = done["held_out_pictures"]
    judged = done.get("held_out_judged", apart)
    which = "" if judged == apart else f" (the loss is of {judged} of them)"
    lines = [f"{done['pictures']} pictures; {apart} more were held out{which}."]
    lines += [f"Left out, {why}: {count}." for why, count in sorted(done["dropped"].items())]
    if done["captions_cut"]:
        lines.append(f"{done['captions_cut']} captions were longer than 77 tokens and cut.")
    return " ".join([*lines, f"Data: {done['data']}."])


def how(recipe: ImageRecipe, done: dict[str, Any]) -> str:
    training = recipe.training
    line = (
        f"{training.precision}, {training.optimiser}, learning rate {training.learning_rate:g} "
        f"({training.schedule}), batch {training.batch} x {training.accumulate}, min-SNR "
        f"{training.snr_gamma:g}, caption dropout {recipe.data.caption_dropout:g}, "
        f"EMA {training.ema:g}, seed {recipe.run.seed}."
    )
    if recipe.prior.weight:
        line += f" Prior preservation at {recipe.prior.weight:g}: “{recipe.prior.prompt}”."
    if not done:
        return line
    shapes = ", ".join(done["shapes"][:12])
    told = (
        f"{line} {done['steps']} steps at {done['resolution']} px ({shapes}), "
        f"{done['seconds'] / 60:.0f} minutes on {done['device']}; the LoRA is that of step "
        f"{done['chosen_step']}"
    )
    loss = done.get("held_out_loss")
    return f"{told}, lowest held-out loss {loss:.4f}." if loss is not None else f"{told}."


def use(recipe: ImageRecipe, base: str) -> str:
    """Write the lines that draw a picture as the validation's, to be run in the expert's folder."""
    shown, vae = recipe.validation, placeless(recipe.base.vae)
    own = recipe.base.id in SHIPPED
    drawn = f"num_inference_steps={shown.steps}, guidance_scale={shown.guidance:g}"
    if size := shown.size or recipe.data.resolution:
        drawn += f", width={size}, height={size}"
    other = f'vae = AutoencoderKL.from_pretrained("{vae}", dtype=kind)' if recipe.base.vae else ""
    classes = "AutoencoderKL, StableDiffusionXLPipeline" if other else "StableDiffusionXLPipeline"
    code = f"""```python
import torch
from diffusers import {classes}
{"from engine.weights.bases import SHIPPED" if own else ""}
gpu = torch.cuda.is_available()
kind = torch.float16 if gpu else torch.float32
base = {f'SHIPPED["{base}"]' if own else f'"{base}"'}
{other}
pipeline = StableDiffusionXLPipeline.from_pretrained(base, {"vae=vae, " if other else ""}dtype=kind)
pipeline.to("cuda" if gpu else "cpu")
pipeline.load_lora_weights("{folder_of(recipe.expert.profile)}", weight_name="{WEIGHTS}")
prompt = "{recipe.expert.prompt.replace("{request}", "a gold ring").strip(" ,")}"
pipeline(prompt, {drawn}).images[0].save("ring.png")
```"""
    return "\n".join(filter(None, code.split("\n")))
