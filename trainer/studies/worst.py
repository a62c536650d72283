"""The worst images of a scored part, to be looked at: that is where the next idea comes from.

`train` and `evaluate --part val` leave worst_val.png (a sheet to glance at) and worst_val.html
(larger, with all that is known of each) in the run folder. Both show photographs: they stay there.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from model_core.images.decode import decode_image
from model_core.predictor import Predictor
from trainer.data.samples import read_photo, read_truth
from trainer.data.tables import replace_text
from trainer.evaluation.evaluate import Scored
from trainer.evaluation.strata import measure
from trainer.plots.html import image, render
from trainer.plots.pictures import outlined

COUNT = 30
# Okabe and Ito's blue and yellow: apart in colour, to colour-blind readers, and in lightness.
TRUTH_COLOUR, PRED_COLOUR = (0, 114, 178), (240, 228, 66)

_COLUMNS = 6
_TILE_PX, _CAPTION_PX, _LARGE_PX = 300, 34, 640


def write_worst(
    scored: Sequence[Scored], predictor: Predictor, out: Path, *, part: str
) -> tuple[Path, Path]:
    """Write the sheet and the page of the `COUNT` images with the lowest Dice.

    Args:
        scored: What `trainer.evaluation.evaluate.score` gave.
        predictor: What it was scored with.
        out: The run folder, and nowhere else: these are photographs of patients.
        part: Goes into the files' names.

    Returns:
        Paths of worst_PART.png and worst_PART.html.
    """
    ranked = sorted(scored, key=lambda entry: (entry.scores.metrics["dice"], entry.sample.key))
    worst = [
        _drawn(entry, predictor, number) for number, entry in enumerate(ranked[:COUNT], start=1)
    ]
    sheet, page = out / f"worst_{part}.png", out / f"worst_{part}.html"
    out.mkdir(parents=True, exist_ok=True)
    _sheet([(picture, caption) for picture, caption, _ in worst]).save(sheet, compress_level=3)
    text = render(
        "worst.html",
        title=f"The {len(worst)} worst of {len(scored)} images: {part}",
        images=[image(_jpeg(p), "jpeg", alt=", ".join(caption)) for p, caption, _ in worst],
        rows=[row for _, _, row in worst],
    )
    replace_text(page, text)
    return sheet, page


def _drawn(
    entry: Scored, predictor: Predictor, number: int
) -> tuple[Pillow.Image, tuple[str, str], tuple[str, ...]]:
    """A photograph with both outlines, the two lines of its caption, and its row of the table."""
    data, truth = read_photo(entry.sample), read_truth(entry.sample)
    photograph = decode_image(data).picture.convert("RGB")
    outlines = [(truth, TRUTH_COLOUR), (predictor.predict(data).mask, PRED_COLOUR)]
    picture = outlined(photograph, outlines, side_px=_LARGE_PX, width_px=3)
    traits, scores, sample = measure(np.asarray(photograph), truth), entry.scores, entry.sample
    share = f"{traits.lesion_fraction:.1%}"
    contrast = "–" if traits.contrast is None else f"{traits.contrast:.1f}"
    dice, jaccard = scores.metrics["dice"], scores.metrics["jaccard"]
    caption = (
        f"{number}. Dice {dice:.3f}, {sample.dataset}",
        f"{sample.id}, {share}, L* {contrast}",
    )
    name, cut = f"{sample.dataset} {sample.id}", "yes" if traits.touches_frame else "no"
    return picture, caption, (str(number), name, f"{dice:.4f}", f"{jaccard:.4f}", share, contrast,
                              cut)  # fmt: skip


def _sheet(pictures: Sequence[tuple[Pillow.Image, tuple[str, str]]]) -> Pillow.Image:
    rows = -(-len(pictures) // _COLUMNS)
    size = (_COLUMNS * _TILE_PX, _CAPTION_PX + rows * (_TILE_PX + _CAPTION_PX))
    sheet = Pillow.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((6, 9), "Worst first. Blue: expert's outline.  Yellow: prediction.", "black", font)
    for index, (picture, caption) in enumerate(pictures):
        row, column = divmod(index, _COLUMNS)
        left, top = column * _TILE_PX, _CAPTION_PX + row * (_TILE_PX + _CAPTION_PX)
        tile = picture.copy()
        tile.thumbnail((_TILE_PX - 6, _TILE_PX - 2))
        sheet.paste(tile, (left + 3, top + _CAPTION_PX))
        for line, text in enumerate(caption):
            pen.text((left + 4, top + 2 + 15 * line), text, "black", font)
    return sheet


def _jpeg(picture: Pillow.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=85)
    return out.getvalue()
