"""Stage one of an image base: an AutoencoderKL whose latents carry colour plainly.

Hue is what a small autoencoder learns last. Two things help: a loss on the chroma of a blurred
copy, and a linear map from each latent cell to the mean colour beneath it, trained along. Both are
squared: a stone is a twentieth of a picture, and by absolute differences its hue weighs no more than
that. The same map later gives the cheap preview pictures during denoising.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from training.base_image.base_recipe import Autoencoder, BaseRecipe
from training.base_image.collection import Collection, centred, crops
from training.base_image.perception import Critic, Perception
from training.base_image.resumable_loop import Part, device

LATENTS = 4
DOWN = 8
LATER = {"steps"}  # what may change between two runs


class WithPreview(nn.Module):
    """Put the autoencoder beside its linear map from latents to colours."""

    def __init__(self, recipe: BaseRecipe):
        super().__init__()
        shape = recipe.autoencoder
        self.autoencoder = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=shape.channels,
            layers_per_block=shape.layers,
            latent_channels=LATENTS,
            norm_num_groups=shape.groups,
            sample_size=recipe.pictures.size,
            scaling_factor=1.0,
            force_upcast=False,
        )
        self.preview = nn.Conv2d(LATENTS, 3, 1)
        with torch.no_grad():  # the first three latents start out as red, green and blue
            self.preview.weight.copy_(torch.eye(3, LATENTS)[:, :, None, None])
            self.preview.bias.zero_()  # type: ignore[union-attr]
        self.critic = Critic() if shape.adversarial else None


def chroma(pictures: Tensor) -> Tensor:
    """Take the two colour differences (B, 2, H, W) of RGB pictures."""
    red, green, blue = pictures.unbind(1)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([red - light, blue - light], 1)


def edges(pictures: Tensor) -> Tensor:
    """Take one Laplacian level: what a picture has that its half-size copy has not."""
    small = functional.avg_pool2d(pictures, 2)
    return pictures - functional.interpolate(small, scale_factor=2, mode="bilinear")


def fit_autoencoder(
    recipe: BaseRecipe,
    folder: Path,
    seen: Collection,
    unseen: Collection,
    after: Callable[[Part], None] = lambda _part: None,
) -> Part:
    shape, size = recipe.autoencoder, recipe.pictures.size
    torch.manual_seed(recipe.seed)
    # Full precision, channels last: on a CPU without bf16's own tiles a third faster than half
    model = WithPreview(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    digest = f"{shape.model_dump_json(exclude=LATER)} {recipe.pictures.model_dump_json()}"
    part = Part(folder, model, shape.learning_rate, shape.steps, digest)
    part.resume()
    perception = Perception() if shape.perceptual else None

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.seed, 1, step])
        whole = step >= shape.steps * (1 - shape.whole_share)
        side, count = (size, shape.whole_batch) if whole else (shape.crop, shape.batch)
        pictures = crops(seen, rng, count, side).to(device())
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        found = model.autoencoder.encode(pictures).latent_dist
        drawn = found.mean + found.std * torch.randn(found.mean.shape).to(device())
        made = model.autoencoder.decode(drawn).sample
        parts = likeness(made, pictures, shape, perception) | {
            "preview": shape.preview
            * functional.mse_loss(model.preview(drawn), functional.avg_pool2d(pictures, DOWN)),
            "kl": shape.kl * found.kl().mean() / found.mean[0].numel(),
        }
        if model.critic is not None and step >= shape.adversarial_from:
            painter, critic = model.critic.losses(made, pictures)
            parts |= {"painter": shape.adversarial * painter, "critic": critic}
        total = torch.stack(list(parts.values())).sum()
        return total, {name: float(value.detach()) for name, value in parts.items()}

    watch = partial(watched, model, unseen, size, part)
    part.fit(loss_of, recipe.checkpoint_minutes, watch, after=after)
    return part


def watched(coder: WithPreview, unseen: Collection, size: int, part: Part, step: int) -> None:
    """Measure error and share of finest detail on unseen pictures, and show eight of them."""
    coder.eval()
    with torch.no_grad():
        spread = np.linspace(0, len(unseen) - 1, min(64, len(unseen))).astype(int).tolist()
        pictures = centred(unseen, spread, size).to(device())
        made = torch.cat([through(coder, piece) for piece in torch.split(pictures, 8)])
        sharpness = edges(made).abs().mean() / edges(pictures).abs().mean()
        error = (made - pictures).abs().mean()
        part.note({"unseen_error": float(error), "unseen_sharpness": float(sharpness)})
    coder.train()
    shown = slice(None, None, max(1, len(spread) // 8))
    save_grid([pictures[shown][:8], made[shown][:8]], part.folder / f"unseen-{step:06d}.png")


def likeness(
    made: Tensor, pictures: Tensor, shape: Autoencoder, perception: Perception | None = None
) -> dict[str, Tensor]:
    """Measure how far pictures are from their originals: pixels, edges, blurred colour, features."""
    if perception is not None:
        seen = {"perceptual": shape.perceptual * perception.distance(made, pictures)}
        return seen | likeness(made, pictures, shape)
    half, small = functional.avg_pool2d(made, 2), functional.avg_pool2d(pictures, 2)
    colour = functional.avg_pool2d(chroma(made), 4), functional.avg_pool2d(chroma(pictures), 4)
    return {
        "pixels": functional.l1_loss(made, pictures),
        "edges": shape.edges
        * (
            functional.l1_loss(edges(made), edges(pictures))
            + functional.l1_loss(edges(half), edges(small))
        ),
        "chroma": shape.chroma * functional.mse_loss(*colour),
    }


def through(model: WithPreview, pictures: Tensor) -> Tensor:
    latents = model.autoencoder.encode(pictures).latent_dist.mode()
    made: Tensor = model.autoencoder.decode(latents).sample.clamp(-1, 1)
    return made


def save_grid(rows: list[Tensor], path: Path) -> None:
    """Save rows of pictures (N, 3, H, W) in -1..1 as one PNG."""
    grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    pixels = ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path)
