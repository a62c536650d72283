"""TensorBoard files of a run: `tensorboard --logdir runs`.

The pictures are photographs: like all of the run folder, they stay there.
"""

import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trainer.training.validate import Validation

FOLDER = "tensorboard"


class TensorBoard:
    """Writes scalars, pictures and histograms, an epoch at a time.

    Args:
        run: The run folder.
        epochs: Epochs finished: later entries, from before a kill, are hidden.
    """

    def __init__(self, run: Path, epochs: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # within tensorboard itself
            from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(run / FOLDER, purge_step=epochs + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # It fails on a full disk, where what stopped the run already says so.
        with suppress(OSError):
            self._writer.close()

    def add_epoch(self, entry: dict[str, Any], validation: Validation) -> None:
        """Add an epoch's scalars, histogram and pictures.

        Args:
            entry: As in `log.jsonl`.
            validation: How validation went.
        """
        step = entry["epoch"]
        for name in ("loss", "lr"):
            self._writer.add_scalar(f"train/{name}", entry[name], step)
        self._writer.add_scalar("val/dice", entry["val_dice"], step)
        self._writer.add_histogram("val/dice_per_image", np.array(validation.dices), step)
        self._writer.add_images(
            "val/photograph_truth_prediction", _rows(validation), step, dataformats="NHWC"
        )
        self._writer.flush()


def _rows(shown: Validation) -> np.ndarray:
    """Lay each image beside its truth and its prediction: uint8 (K, S, 3 S, 3)."""
    masks = [np.repeat(m[..., None] * np.uint8(255), 3, -1) for m in (shown.truths, shown.masks)]
    return np.concatenate([shown.images, *masks], axis=2)
