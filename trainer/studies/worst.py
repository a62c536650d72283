"""The worst images of a scored part, to be looked at: that is where the next idea comes from.

`train` and `evaluate --part val` leave worst_val.png (a sheet to glance at) and worst_val.html
(larger, with all that is known of each) in the run folder. Both show photographs: they stay there.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from model_core.predictor import Predictor
from trainer.data.samples import read_photo, read_picture, read_truth
from trainer.data.tables import replace_text
from trainer.evaluation.evaluate import Scored
from trainer.evaluation.strata import measure
from trainer.plots.html import image, render
from trainer.plots.pictures import PRED_COLOUR, TRUTH_COLOUR, contact_sheet, outlined
from trainer.plots.text import MISSING

COUNT = 30
_LARGE_PX = 640


def write_worst(
    scored: Sequence[Scored], predictor: Predictor, out: Path, *, part: str
) -> tuple[Path, Path]:
    """Write the sheet and the page of the `COUNT` images with the lowest Dice.

    `out` is the run folder, and nothing else: these are photographs of patients.

    Returns:
        Paths of worst_PART.png and worst_PART.html.
    """
    # By key where the Dice is equal, so that the same images are shown every time.
    ranked = sorted(scored, key=lambda entry: (entry.scores.metrics["dice"], entry.sample.key))
    worst = [
        _drawn(entry, predictor, number) for number, entry in enumerate(ranked[:COUNT], start=1)
    ]
    sheet, page = out / f"worst_{part}.png", out / f"worst_{part}.html"
    text = render(
        "worst.html",
        title=f"The {len(worst)} worst of {len(scored)} images: {part}",
        images=[image(_jpeg(p), "jpeg", alt=", ".join(caption)) for p, caption, _ in worst],
        rows=[row for _, _, row in worst],
    )
    replace_text(page, text)
    title = "Worst first. Blue: expert's outline.  Yellow: prediction."
    tiles = [(picture, caption) for picture, caption, _ in worst]
    contact_sheet(tiles, columns=6, tile_px=300, title=title).save(sheet, compress_level=3)
    return sheet, page


def _drawn(
    entry: Scored, predictor: Predictor, number: int
) -> tuple[Pillow.Image, tuple[str, str], tuple[str, ...]]:
    """Draw a photograph with both outlines; give the lines of its caption and its table row."""
    sample, scores = entry.sample, entry.scores
    image, truth = read_picture(sample), read_truth(sample)
    pred = predictor.predict(read_photo(sample)).mask
    picture = outlined(image, [(truth, TRUTH_COLOUR), (pred, PRED_COLOUR)],
                       side_px=_LARGE_PX, width_px=3)  # fmt: skip
    traits = measure(np.asarray(image), truth)
    share = f"{traits.lesion_fraction:.1%}"
    contrast = MISSING if traits.contrast is None else f"{traits.contrast:.1f}"
    dice, jaccard = scores.metrics["dice"], scores.metrics["jaccard"]
    caption = (
        f"{number}. Dice {dice:.3f}, {sample.dataset}",
        f"{sample.id}, {share}, L* {contrast}",
    )
    name, cut = f"{sample.dataset} {sample.id}", "yes" if traits.touches_frame else "no"
    return picture, caption, (str(number), name, f"{dice:.4f}", f"{jaccard:.4f}", share, contrast,
                              cut)  # fmt: skip


def _jpeg(picture: Pillow.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=85)
    return out.getvalue()
