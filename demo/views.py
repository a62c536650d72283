"""The views of one photograph's answer."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from demo import asking, corrections, results
from demo.asking import Photograph, Wish
from demo.pictures import HALF, encode_png, grey_levels, on_screen, with_probability
from demo.viewer import component
from service.client import ClientError, Segmentation, UnexpectedAnswerError, VersionList

Answers = Sequence[tuple[Photograph, Segmentation]]

OUTLINE, PROBABILITY, EXPERT, COMPARE = "Outline", "Probability", "Expert's mask", "Two versions"
VIEWS = (OUTLINE, PROBABILITY, EXPERT, COMPARE)
_LEGEND = (
    '<div><span class="chip" style="background:#0072b2"></span>both: lesion</div>'
    '<div><span class="chip" style="background:#e69f00"></span>model alone (false positive)</div>'
    '<div><span class="chip" style="background:#cc79a7"></span>expert alone (false negative)</div>'
)


def show(
    photograph: Photograph, answer: Segmentation, good: Answers, wish: Wish, versions: VersionList
) -> None:
    """Everything on one photograph, the picture first."""
    view = st.segmented_control("View", VIEWS, default=OUTLINE, required=True, key="view",
                                label_visibility="collapsed")  # fmt: skip
    try:
        if view == PROBABILITY:
            probability(photograph, answer, wish)
        elif view == EXPERT:
            expert(photograph, answer, wish)
        elif view == COMPARE:
            compare(photograph, wish, versions)
        else:
            viewer(photograph, answer, good)
            corrections.show(photograph, answer, wish)
    except ClientError as exc:
        asking.explain(exc)
    except OSError as exc:  # of Pillow
        asking.explain(UnexpectedAnswerError(f"It answered with what is no picture: {exc}"))
    results.advice(answer)
    results.figures(answer)
    left, right = st.columns([3, 2], gap="large")
    with left:
        results.measurements(answer)
    with right:
        results.downloads(photograph, answer, wish)


def viewer(photograph: Photograph, answer: Segmentation, good: Answers) -> None:
    """Show the photograph with the outline, to zoom into and to mend."""
    counts = str(answer.annotation["segmentation"]["counts"])
    spacing = answer.annotation["measurements"]["spacing_mm"]
    small = asking.thumbnails()
    component.show(
        component.Shown(
            key=photograph.key,
            picture=asking.picture(photograph),
            mask=answer.mask,
            mask_key=sha256(counts.encode()).hexdigest()[:16],
            spacing_mm=spacing and (spacing[0], spacing[1]),
            described=described(answer),
        ),
        [
            component.Small(
                key=each.key,
                name=each.name,
                url=component.data_url(small[each.key]),
                note=found.annotation["quality"]["advice"],
            )
            for each, found in good
            if len(good) > 1 and each.key in small
        ],
        on_event=_on_event,
    )


def _on_event(event: str, value: dict[str, Any]) -> None:
    if event == "choose":
        st.session_state["chosen"] = value["key"]
    elif event == "spacing":
        asking.rulers()[value["key"]] = float(value["mm"])
    else:
        corrections.receive(value)


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


def expert(photograph: Photograph, answer: Segmentation, wish: Wish) -> None:
    """Scores against an expert's mask, and where the two differ."""
    file = st.file_uploader(
        "Expert's mask of this photograph", type=["png", "json"], key=f"truth-{photograph.key}",
        help="PNG with two levels, as high and as wide as the photograph; or COCO run lengths.",
    )  # fmt: skip
    if file is None:
        st.info("Drop the expert's mask to see Dice, IoU and where the two differ.")
        return
    truth, key = file.getvalue(), (photograph.key, file.file_id, wish)
    levels = grey_levels(truth, answer.mask.shape)
    if levels is not None and len(np.unique(levels)) > 2:
        if not _cut_at_half(levels, file.file_id):
            return
        truth = encode_png(levels > HALF)
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
    picture = asking.once(
        ("picture", *key),
        lambda: asking.client().evaluation_picture(
            truth, image=photograph.data, threshold=wish.threshold, model=wish.model
        ),
    )
    st.image(picture, width="stretch", alt="Where the model and the expert agree and differ.")
    st.html(_LEGEND)
    columns = st.columns(3)
    columns[0].metric("Dice", f"{scores.dice:.4f}", border=True)
    columns[1].metric("IoU (Jaccard)", f"{scores.jaccard:.4f}", border=True)
    columns[2].metric(
        "95 % Hausdorff", "none" if distance is None else f"{distance:.2f} {unit}", border=True,
        help="All but 5 % of either outline lie closer than this to the other.",
    )  # fmt: skip
    st.caption(f"Sensitivity {scores.sensitivity:.4f}, specificity {scores.specificity:.4f}.")


def _cut_at_half(levels: npt.NDArray[np.uint8], key: str) -> bool:
    """Ask whether a mask of many levels shall be cut at half; return the answer."""
    lesion, between = int((levels > HALF).sum()), int(((levels > 0) & (levels < 255)).sum())
    st.warning(
        f"**Not two levels but {len(np.unique(levels))}.** A mask says of each pixel lesion or "
        f"not; in this file {between:,} of {levels.size:,} px lie between black and white, as "
        "after JPEG or resizing."
    )
    label = f"Cut at half: {lesion:,} px are lesion, {levels.size - lesion:,} px are not"
    cut: bool = st.checkbox(label, key=f"cut-{key}")
    return cut


def compare(photograph: Photograph, wish: Wish, versions: VersionList) -> None:
    """Two versions side by side."""
    names = [f"{entry.name}@{entry.version}" for entry in versions.models]
    if len(names) < 2:
        st.info("The service has one version only; publish another to compare them.")
        return
    columns, masks = st.columns(2), []
    for position, column in enumerate(columns):
        with column:
            start = len(names) - 1 if position == 0 else len(names) - 2
            name = st.selectbox(
                f"Version {'AB'[position]}", names, index=start, key=f"side-{position}"
            )
            with st.spinner(f"Asking {name}"):
                answer = asking.segment(photograph, Wish(name, None, wish.spacing_mm))
            picture = _outlined(photograph, answer, Wish(name))
            st.image(picture, width="stretch", alt=f"{name}: {described(answer)}")
            score = "unknown" if answer.score is None else f"{answer.score:.2f}"
            st.write(
                f"{answer.area_px:,} px² · expected Jaccard {score} · threshold "
                f"{answer.threshold:.2f}"
            )
            masks.append(answer.mask)
    agreement = asking.client().evaluate([masks[0]], preds=[masks[1]]).items[0].jaccard
    st.metric("Jaccard of the two masks with each other", f"{agreement:.4f}", border=True)


def _outlined(photograph: Photograph, answer: Segmentation, wish: Wish) -> Image.Image:
    """Return the photograph with the outline, as the service draws it on any type of file.

    Kept at the size of the screen, as a photograph may have 100 times as many pixels.
    """
    key = ("overlay", photograph.key, wish, answer.model.sha256)
    return asking.once(key, lambda: on_screen(asking.made(photograph, wish, "overlay-jpeg")))


def described(answer: Segmentation) -> str:
    """Describe the outlined photograph in words."""
    if not answer.lesion_found:
        return "The photograph; no lesion was found in it."
    x, y, width, height = answer.bbox_px
    return (
        f"The photograph with the lesion's outline: {answer.area_px} px, {width} px wide and "
        f"{height} px high, {x} px from the left and {y} px from the top."
    )
