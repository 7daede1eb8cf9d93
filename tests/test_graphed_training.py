"""The small denoiser's training step on a GPU: `pytest -m gpu`."""

from pathlib import Path

import pytest
import torch

import training
from training.base_image import denoiser
from training.base_image.base_recipe import BaseRecipe
from training.base_image.latent_views import Views
from training.base_image.resumable_loop import device
from training.run.recipe import read_recipe

ROWS = 8


@pytest.mark.gpu
def test_graphs_give_the_loss_and_the_gradients_of_kernel_by_kernel() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    recipe = read_recipe(
        Path(training.__file__).parent / "recipes" / "jewel-base.toml", (), BaseRecipe
    )
    torch.manual_seed(1)
    model = denoiser.Conditioned(recipe).to(device())
    latents, times = torch.randn(1, ROWS, 4, 24, 24), 192.0 * torch.rand(1, ROWS, 6)
    words = tuple(torch.randint(3, 49_000, (2, ROWS, denoiser.POSITIONS)))
    steps, noise = torch.arange(ROWS) * 100, torch.randn(ROWS, 4, 24, 24)

    def passes() -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        loss = denoiser.velocity_error(
            model, latents[0], noise, steps, (words[0], words[1]), times[0]
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), [
            w.grad.clone() for w in model.parameters() if w.grad is not None
        ]

    loss, gradients = passes()
    denoiser._play_from_graphs(model, Views(latents, times, 1.0), ROWS)
    again, played = passes()
    assert again == pytest.approx(loss, rel=1e-5)
    kept = [far for far in played if far.any()]  # a graph gives noughts where nothing flows
    assert len(kept) == len([near for near in gradients if near.any()])
    for near, far in zip([g for g in gradients if g.any()], kept, strict=True):
        torch.testing.assert_close(far, near, rtol=1e-3, atol=1e-6)
