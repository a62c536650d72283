"""The worst images of a scored part, to be looked at: that is where the next idea comes from.

`train` and `evaluate --part val` leave worst_val.png (a sheet to glance at) and worst_val.html
(larger, with all that is known of each) in the run folder. Both show photographs: they stay there.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from model_core.arrays import Mask
from model_core.images.decode import decode_image
from model_core.predictor import Predictor
from trainer.data.samples import read_photo, read_truth
from trainer.data.tables import replace_text
from trainer.evaluation.evaluate import Scored
from trainer.evaluation.strata import Traits, measure
from trainer.plots.html import figure, image, table

COUNT = 30
# Okabe and Ito's blue and yellow: apart in colour, to colour-blind readers, and in lightness.
TRUTH_COLOUR, PRED_COLOUR = (0, 114, 178), (240, 228, 66)

_COLUMNS = 6
_TILE_PX, _CAPTION_PX, _LARGE_PX = 300, 34, 640
_TEMPLATE = Path(__file__).with_name("worst.html")


@dataclass(frozen=True)
class _Picture:
    """One image with its two outlines.

    Attributes:
        entry: What was scored.
        traits: What its lesion is like.
        drawn: The photograph with both outlines, its longest side `_LARGE_PX`.
    """

    entry: Scored
    traits: Traits
    drawn: Pillow.Image


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
    pictures = [_picture(entry, predictor) for entry in ranked[:COUNT]]
    sheet, page = out / f"worst_{part}.png", out / f"worst_{part}.html"
    out.mkdir(parents=True, exist_ok=True)
    _sheet(pictures).save(sheet, compress_level=3)
    replace_text(page, _page(pictures, total=len(scored), part=part))
    return sheet, page


def _picture(entry: Scored, predictor: Predictor) -> _Picture:
    data = read_photo(entry.sample)
    truth, pred = read_truth(entry.sample), predictor.predict(data).mask
    photograph = decode_image(data).picture.convert("RGB")
    return _Picture(entry, measure(np.asarray(photograph), truth), _draw(photograph, truth, pred))


def _draw(photograph: Pillow.Image, truth: Mask, pred: Mask) -> Pillow.Image:
    """The photograph at `_LARGE_PX`, so that lines are as wide on small ones as on large ones."""
    scale = _LARGE_PX / max(photograph.size)
    size = (max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale)))
    pixels = np.array(photograph.resize(size, Pillow.Resampling.BICUBIC))
    for mask, colour in ((truth, TRUTH_COLOUR), (pred, PRED_COLOUR)):
        scaled = np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.NEAREST))
        # Beyond the frame is skin: where the frame cuts a lesion the outline goes along it.
        pixels[scaled & ~ndimage.binary_erosion(scaled, iterations=3)] = colour
    return Pillow.fromarray(pixels)


def _sheet(pictures: Sequence[_Picture]) -> Pillow.Image:
    rows = -(-len(pictures) // _COLUMNS)
    size = (_COLUMNS * _TILE_PX, _CAPTION_PX + rows * (_TILE_PX + _CAPTION_PX))
    sheet = Pillow.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((6, 9), "Worst first. Blue: expert's outline.  Yellow: prediction.", "black", font)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, _COLUMNS)
        left, top = column * _TILE_PX, _CAPTION_PX + row * (_TILE_PX + _CAPTION_PX)
        tile = picture.drawn.copy()
        tile.thumbnail((_TILE_PX - 6, _TILE_PX - 2))
        sheet.paste(tile, (left + 3, top + _CAPTION_PX))
        for line, text in enumerate(_caption(picture, index)):
            pen.text((left + 4, top + 2 + 15 * line), text, "black", font)
    return sheet


def _caption(picture: _Picture, index: int) -> tuple[str, str]:
    sample, dice = picture.entry.sample, picture.entry.scores.metrics["dice"]
    share, contrast = f"{picture.traits.lesion_fraction:.1%}", _contrast(picture)
    return (
        f"{index + 1}. Dice {dice:.3f}, {sample.dataset}",
        f"{sample.id}, {share}, L* {contrast}",
    )


def _page(pictures: Sequence[_Picture], *, total: int, part: str) -> str:
    rows = [
        (
            str(index + 1),
            f"{picture.entry.sample.dataset} {picture.entry.sample.id}",
            f"{picture.entry.scores.metrics['dice']:.4f}",
            f"{picture.entry.scores.metrics['jaccard']:.4f}",
            f"{picture.traits.lesion_fraction:.1%}",
            _contrast(picture),
            "yes" if picture.traits.touches_frame else "no",
        )
        for index, picture in enumerate(pictures)
    ]
    columns = ("", "image", "Dice", "Jaccard", "lesion's share", "contrast, L*", "cut by the frame")
    shown = (
        figure([image(_jpeg(picture.drawn), "jpeg", alt=text)], text)
        for index, picture in enumerate(pictures)
        for text in [", ".join(_caption(picture, index))]
    )
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"The {len(pictures)} worst of {total} images: {part}"),
        table=table("Lowest Dice first", columns, rows),
        pictures="".join(shown),
    )


def _contrast(picture: _Picture) -> str:
    contrast = picture.traits.contrast
    return "–" if contrast is None else f"{contrast:.1f}"


def _jpeg(picture: Pillow.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=85)
    return out.getvalue()
