"""How a version is fine-tuned, by the number of photographs.

Network, preprocessing, component rules, loss and augmentation are the version's own. The rest was
chosen on simulated clinics (docs/records/finetuning.md).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_core.card import Card
from trainer.config import OptimConfig, Stage, TrainConfig, parse_config
from trainer.data.folds import assign_folds
from trainer.data.samples import Sample
from trainer.release.reproduce import OF_THE_RUN

LEAST_IMAGES = 10
"""Of fewer, neither a gain nor a threshold could be told from chance."""
FOLDS = 5
CROSS_FIT_BELOW = 500
"""From so many photographs on, one fold in five is enough to calibrate and compare on, and the
others cost five times the training."""
_EPOCHS = 5
"""Times that a run is validated and saved, whatever the number of photographs."""


@dataclass(frozen=True)
class Recipe:
    """What the number of photographs decides.

    Attributes:
        shown: Photographs that a training is shown, repeated ones counted each time.
        lr: Highest learning rate.
        batch: Photographs a step.
        folds: Numbers of the folds that a run is kept from, of `FOLDS`.
    """

    shown: int
    lr: float = 1e-4
    batch: int = 8
    folds: tuple[int, ...] = tuple(range(1, FOLDS + 1))


def recipe_for(samples: Sequence[Sample]) -> Recipe:
    """Choose the recipe for photographs, at least `LEAST_IMAGES` in at least `FOLDS` groups."""
    count = len(samples)
    recipe = Recipe(shown=max(600, 12 * count))
    if count < CROSS_FIT_BELOW:
        return recipe
    groups = Counter(assign_folds(samples, FOLDS).values())
    widest = max(recipe.folds, key=groups.__getitem__)
    # Of one patient's photographs alone no threshold could be chosen on others.
    return replace(recipe, folds=(widest,)) if groups[widest] >= FOLDS else recipe


def config_for(card: Card, version: Path, data: Path, count: int, recipe: Recipe) -> TrainConfig:
    """Make the config that trains a version on.

    Args:
        card: Of the version.
        version: Folder with its weights.
        data: Prepared folder of the photographs.
        count: Photographs that it learns from.
        recipe: As `recipe_for` gives it.
    """
    table = {key: value for key, value in card.training.items() if key not in OF_THE_RUN}
    theirs = parse_config(table | {"data": str(data)}, f"{card.name}@{card.version}")
    passes = max(1, round(recipe.shown / (_EPOCHS * count)))
    return replace(
        theirs,
        name=card.name,
        datasets=(),
        initial=str(version),
        pretrained=False,
        teachers=(),
        shares={},
        patience=0,
        limits=(),
        model=card.architecture,
        preprocess=card.preprocess,
        # Margins are thresholds for other readers' outlines than the clinic's.
        postprocess=replace(card.postprocess, tight_threshold=None, loose_threshold=None),
        stages=(
            Stage(size=card.preprocess.size, epochs=_EPOCHS, batch=recipe.batch, passes=passes),
        ),
        optim=OptimConfig(
            name="adamw",
            lr=recipe.lr,
            weight_decay=theirs.optim.weight_decay,
            schedule="cosine",
            warmup=0.1,
            ema=0.98,
            bf16=True,
            clip_norm=5.0,
            freeze_norm=True,
            encoder_lr=recipe.lr / 4 if card.architecture.encoder != "plain" else 0.0,
        ),
    )
