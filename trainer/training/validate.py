"""How well the averaged weights do on the validation part, after each epoch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_core.arrays import Mask
from model_core.network.normalise import normalise
from model_core.network.unet import UNet, channels_last
from model_core.scores.metrics import Confusion
from trainer.config import TrainConfig
from trainer.data.cache import open_cache
from trainer.data.samples import Sample
from trainer.training.distributed import SINGLE_PROCESS, Team

_BATCH = 16


@dataclass(frozen=True)
class Validation:
    """What validation found.

    Attributes:
        dices: Dice of each image, at the size that will be served.
        images: uint8 (K, S, S, 3), the first K images.
        truths: bool (K, S, S), their expert masks.
        masks: bool (K, S, S), their predicted masks, not tidied.
    """

    dices: list[float]
    images: npt.NDArray[np.uint8]
    truths: Mask
    masks: Mask

    @property
    def dice(self) -> float:
        """Mean Dice over images."""
        return sum(self.dices) / len(self.dices)


@torch.no_grad()
def validate(
    config: TrainConfig,
    samples: list[Sample],
    weights: Mapping[str, Tensor],
    team: Team = SINGLE_PROCESS,
    *,
    bf16: bool = False,
    shown: int = 4,
) -> Validation:
    """Run weights on samples, without augmentation, at the size of `config.preprocess`.

    Args:
        config: Of the run.
        samples: The validation part.
        weights: A state dict of `UNet(config.model)`.
        team: Each process takes its share of the images, and all are given the whole result.
        bf16: Run in bfloat16, as the run itself does.
        shown: Number of images to give back.
    """
    cache = open_cache(samples, config.preprocess, config.data / "cache")
    device, mine = team.device, team.shard(len(samples))
    model = channels_last(UNet(config.model), device).eval()
    model.load_state_dict(weights)
    dices: list[float] = []
    first: list[Mask] = []
    for start in range(mine.start, mine.stop, _BATCH):
        rows = slice(start, min(start + _BATCH, mine.stop))
        images = torch.from_numpy(cache.images[rows].copy()).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(normalise(images, config.preprocess))
        preds = (logits[:, 0] > 0).cpu().numpy()
        truths = cache.masks[rows].astype(bool)
        dices += [Confusion.of(truth, pred).dice for truth, pred in zip(truths, preds, strict=True)]
        first += list(preds[: max(0, shown - start)])
    return Validation(
        team.gather(dices),
        np.array(cache.images[:shown]),
        cache.masks[:shown].astype(bool),
        np.array(team.gather(first)),
    )
