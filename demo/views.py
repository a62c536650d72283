"""The views of one photograph's answer."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image

from demo import asking
from demo.asking import Photograph, Wish
from demo.pictures import encode_png, is_dicom, on_screen, tinted, with_probability
from service.client import ClientError, Segmentation, VersionList

OUTLINE, PROBABILITY, EXPERT, COMPARE = "Outline", "Probability", "Expert's mask", "Two versions"
VIEWS = (OUTLINE, PROBABILITY, EXPERT, COMPARE)
_ADVICE = {
    "accept": (st.success, "Nothing speaks against using it as it is."),
    "review": (st.warning, "A person should look at this one."),
    "reject": (st.error, "Do not use this one."),
}
_LEGEND = (
    '<div><span class="chip" style="background:#0072b2"></span>both: lesion</div>'
    '<div><span class="chip" style="background:#e69f00"></span>model alone (false positive)</div>'
    '<div><span class="chip" style="background:#cc79a7"></span>expert alone (false negative)</div>'
)


def show(
    photograph: Photograph,
    answer: Segmentation,
    wish: Wish,
    opacity: float,
    versions: VersionList,
) -> None:
    """Everything on one photograph."""
    figures(answer)
    advice(answer)
    view = st.segmented_control("View", VIEWS, default=OUTLINE, required=True, key="view")
    # Two pictures side by side need the whole width.
    left, right = (
        (st.container(), st.container()) if view == COMPARE else st.columns([5, 3], gap="large")
    )
    with left:
        try:
            if view == PROBABILITY:
                probability(photograph, answer, wish)
            elif view == EXPERT:
                expert(photograph, wish)
            elif view == COMPARE:
                compare(photograph, wish, opacity, versions)
            else:
                base = _outlined(photograph, answer, wish)
                picture = tinted(base, answer.mask, opacity=opacity)
                st.image(picture, width="stretch", alt=_described(answer))
        except ClientError as exc:
            asking.explain(exc)
    with right:
        downloads(photograph, answer, wish)
        measurements(answer)


def overview(answers: Sequence[tuple[Photograph, Segmentation | ClientError]]) -> None:
    """List the photographs, one a line."""
    failed = sum(isinstance(answer, ClientError) for _, answer in answers)
    st.subheader(
        f"{len(answers)} photographs" + (f", {failed} could not be used" if failed else "")
    )
    st.dataframe([_line(photograph, answer) for photograph, answer in answers], hide_index=True)


def figures(answer: Segmentation) -> None:
    """Show area, share, expected Jaccard and model."""
    height, width = answer.mask.shape
    columns = st.columns(4)
    share = answer.area_px / (height * width)
    columns[0].metric("Lesion", f"{answer.area_px:,} px", border=True, help="Pixels of the lesion.")
    columns[1].metric("Share of the photograph", f"{share:.1%}", border=True)
    score = "unknown" if answer.score is None else f"{answer.score:.2f}"
    columns[2].metric(
        "Expected Jaccard", score, border=True,
        help="How well the mask is expected to agree with an expert's, 0 to 1.",
    )  # fmt: skip
    columns[3].metric("Model", answer.model.version, border=True, help=answer.model.label)


def advice(answer: Segmentation) -> None:
    """Say whether the mask can be used, and why not."""
    quality = answer.annotation["quality"]
    box, text = _ADVICE[quality["advice"]]
    reasons = "; ".join(reason.replace("_", " ") for reason in quality["reasons"])
    box(f"**{quality['advice'].capitalize()}.** {text} {reasons}")


def probability(photograph: Photograph, answer: Segmentation, wish: Wish) -> None:
    """Show how likely each pixel is lesion."""
    grey = asking.once(
        ("probability", photograph.key, answer.model.sha256),
        lambda: asking.client().segment_as(photograph.data, "probability", model=wish.model),
    )
    over = st.slider("Over the photograph", 0, 100, 60, 5, format="%d %%", key="over")
    picture = with_probability(_outlined(photograph, answer, wish), grey, opacity=over / 100)
    st.image(picture, width="stretch", alt="Probability of lesion: dark blue 0, yellow 1.")
    st.caption("Dark blue: surely skin. Grey: undecided. Yellow: surely lesion.")


def expert(photograph: Photograph, wish: Wish) -> None:
    """Scores against an expert's mask, and where the two differ."""
    file = st.file_uploader(
        "Expert's mask of this photograph", type=["png", "json"], key=f"truth-{photograph.key}",
        help="PNG with two levels, as high and as wide as the photograph; or COCO run lengths.",
    )  # fmt: skip
    if file is None:
        st.info("Drop the expert's mask to see Dice, IoU and where the two differ.")
        return
    truth, key = file.getvalue(), (photograph.key, file.file_id, wish)
    spacing = (wish.spacing_mm, wish.spacing_mm) if wish.spacing_mm else None
    scores = asking.once(
        ("scores", *key),
        lambda: asking.client().evaluate(
            [truth],
            images=[photograph.data],
            threshold=wish.threshold,
            model=wish.model,
            spacing_mm=spacing,
        ),
    ).items[0]
    distance = scores.hausdorff_95_mm if spacing else scores.hausdorff_95_px
    unit = "mm" if spacing else "px"
    columns = st.columns(3)
    columns[0].metric("Dice", f"{scores.dice:.4f}", border=True)
    columns[1].metric("IoU (Jaccard)", f"{scores.jaccard:.4f}", border=True)
    columns[2].metric(
        "95 % Hausdorff", "none" if distance is None else f"{distance:.2f} {unit}", border=True,
        help="All but 5 % of either outline lie closer than this to the other.",
    )  # fmt: skip
    st.caption(f"Sensitivity {scores.sensitivity:.4f}, specificity {scores.specificity:.4f}.")
    picture = asking.once(
        ("picture", *key),
        lambda: asking.client().evaluation_picture(
            truth, image=photograph.data, threshold=wish.threshold, model=wish.model
        ),
    )
    st.image(picture, width="stretch", alt="Where the model and the expert agree and differ.")
    st.html(_LEGEND)


def compare(photograph: Photograph, wish: Wish, opacity: float, versions: VersionList) -> None:
    """Two versions side by side."""
    names = [f"{entry.name}@{entry.version}" for entry in versions.models]
    if len(names) < 2:
        st.info("The service has one version only; publish another to compare them.")
        return
    columns, masks = st.columns(2), []
    for number, column in enumerate(columns):
        with column:
            start = len(names) - 1 if number == 0 else len(names) - 2
            name = st.selectbox(f"Version {'AB'[number]}", names, index=start, key=f"side-{number}")
            with st.spinner(f"Asking {name}"):
                answer = asking.segment(photograph, Wish(name, None, wish.spacing_mm))
            base = _outlined(photograph, answer, Wish(name))
            picture = tinted(base, answer.mask, opacity=opacity)
            st.image(picture, width="stretch", alt=f"{name}: {_described(answer)}")
            score = "unknown" if answer.score is None else f"{answer.score:.2f}"
            st.write(
                f"{answer.area_px:,} px · expected Jaccard {score} · threshold "
                f"{answer.threshold:.2f}"
            )
            masks.append(answer.mask)
    agreement = asking.client().evaluate([masks[0]], preds=[masks[1]]).items[0].jaccard
    st.metric("Jaccard of the two masks with each other", f"{agreement:.4f}", border=True)


def downloads(photograph: Photograph, answer: Segmentation, wish: Wish) -> None:
    """Offer the answer as files."""
    stem = Path(photograph.name).stem
    st.subheader("Download")
    _download("Mask (PNG)", encode_png(answer.mask), f"{stem}_mask.png")
    _download("COCO RLE (JSON)", json.dumps(answer.annotation), f"{stem}.json")
    _download(
        "Outlined photograph (PNG)",
        lambda: _made(photograph, wish, "overlay"),
        f"{stem}_outline.png",
    )
    _download("GeoJSON", lambda: _made(photograph, wish, "geojson"), f"{stem}.geojson")
    if is_dicom(photograph.data):
        _download("DICOM SEG", lambda: _made(photograph, wish, "dicom-seg"), f"{stem}_seg.dcm")


def _download(label: str, data: str | bytes | Callable[[], bytes], name: str) -> None:
    st.download_button(label, data, name, on_click="ignore", width="stretch")


def measurements(answer: Segmentation) -> None:
    """Show what the service measured, in a table."""
    st.subheader("Measurements")
    st.table(
        [
            {"measurement": name, "value": text}
            for name, text in _measured(answer.annotation["measurements"])
        ],
        border="horizontal",
    )
    st.caption("Geometry only, no diagnosis. docs/measurements.md has each formula.")


def _measured(values: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for name, value in values.items():
        if value is None or name.startswith(("spacing", "bbox")):
            continue
        words, unit = name.replace("_", " "), ""
        for ending in ("px", "mm2", "mm", "deg"):
            if words.endswith(f" {ending}"):
                words = words.removesuffix(ending)
                unit = {"mm2": " mm²", "deg": "°"}.get(ending, f" {ending}")
                break
        numbers = value if isinstance(value, list | tuple) else [value]
        lines.append((words.strip().capitalize(), ", ".join(_number(n) for n in numbers) + unit))
    return lines


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3}f}"


def _outlined(photograph: Photograph, answer: Segmentation, wish: Wish) -> Image.Image:
    """Return the photograph with the outline, as the service draws it on any type of file.

    Kept at the size of the screen, as a photograph may have 100 times as many pixels.
    """
    key = ("overlay", photograph.key, wish, answer.model.sha256)
    return asking.once(key, lambda: on_screen(_made(photograph, wish, "overlay-jpeg")))


def _made(photograph: Photograph, wish: Wish, format: str) -> bytes:
    return asking.client().segment_as(
        photograph.data, format, model=wish.model, threshold=wish.threshold
    )


def _line(photograph: Photograph, answer: Segmentation | ClientError) -> dict[str, object]:
    line: dict[str, object] = {"photograph": photograph.name}
    if isinstance(answer, ClientError):
        return line | {"lesion, px": None, "expected Jaccard": None,
                       "advice": asking.in_a_word(answer)}  # fmt: skip
    score = None if answer.score is None else round(answer.score, 2)
    return line | {
        "lesion, px": answer.area_px,
        "expected Jaccard": score,
        "advice": answer.annotation["quality"]["advice"],
    }


def _described(answer: Segmentation) -> str:
    if not answer.lesion_found:
        return "The photograph; no lesion was found in it."
    x, y, width, height = answer.bbox_px
    return (
        f"The photograph with the lesion's outline: {answer.area_px} px, {width} px wide and "
        f"{height} px high, {x} px from the left and {y} px from the top."
    )
