"""The page itself, read top to bottom; Streamlit runs it again at every change.

    python -m demo

A client of the API and nothing else: all it knows of lesions, it asks the service.
"""

import streamlit as st

from demo import asking, several, views
from demo.asking import Photograph, Wish
from demo.pictures import icon
from service.client import ClientError, Segmentation, VersionList

TYPES = ["jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp", "heic", "heif", "avif", "dcm"]
INTRODUCTION = (
    "Drop dermoscopic photographs; see the lesion's outline, mend it, see how sure the model is, "
    "and how it compares with an expert. "
)
RESEARCH_ONLY = "**Not a medical device: for research only.** "
WHITHER = (
    f"Photographs go to the service at `{asking.URL}` and nowhere else. It forgets them with its "
    "answer, unless you save a correction where its operator keeps these."
)
STYLE = """
<style>
:focus-visible { outline: 3px solid #0b5cad !important; outline-offset: 2px; }
[data-testid="stHeader"] { background: none; }
[data-testid="stExpandSidebarButton"] { background: #ffffffe0; }
.block-container { padding: 0.9rem clamp(0.75rem, 2vw, 2rem) 2rem; max-width: 1680px; }
.block-container h1 { font-size: 1.4rem; padding: 0 0 0.4rem 2.4rem; }
.block-container [data-testid="stVerticalBlock"] { gap: 0.7rem; }
[data-testid="stCaptionContainer"] { color: #4a4a4a !important; opacity: 1 !important; }
[data-testid="stCaptionContainer"] * { color: inherit !important; opacity: 1 !important; }
.chip { display: inline-block; width: .9em; height: .9em; border: 1px solid #1a1a1a;
        margin-right: .5em; vertical-align: -0.1em; }
</style>
"""


def main() -> None:
    """Draw the page."""
    st.set_page_config(
        "Skin-lesion segmentation", icon(), layout="wide", initial_sidebar_state="collapsed"
    )
    st.html(STYLE)
    st.title("Skin-lesion segmentation")
    picture_first = st.container()
    with st.sidebar:
        connection()
    # Before anything is asked: what is not drawn loses its files, and the service may be away.
    files = st.file_uploader(
        "Photographs",
        type=TYPES,
        accept_multiple_files=True,
        help="JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM, up to 20 MB each. " + WHITHER,
    )
    photographs = [Photograph(file.name, file.file_id, file.getvalue()) for file in files]
    with picture_first:
        st.caption(RESEARCH_ONLY if photographs else INTRODUCTION + RESEARCH_ONLY + WHITHER)
        results(photographs)


def results(photographs: list[Photograph]) -> None:
    """Draw the settings and what was found, or why nothing can be."""
    try:
        versions = asking.client().models()
        with st.sidebar:
            wish = controls(versions)
    except ClientError as exc:
        asking.explain(exc)
        return
    if not photographs:
        st.info("Drop one photograph, or many, to begin.", icon=":material/upload:")
        return
    answers = segment(photographs, wish)
    good = [
        (photograph, answer) for photograph, answer in answers if isinstance(answer, Segmentation)
    ]
    if good:
        keys = [photograph.key for photograph, _ in good]
        chosen = st.session_state.get("chosen")
        photograph, answer = good[keys.index(chosen) if chosen in keys else 0]
        views.show(photograph, answer, good, asking.measured_by(photograph, wish), versions)
    if len(answers) > 1:
        several.overview(answers)
    elif not good and answers and isinstance(answers[0][1], ClientError):
        asking.explain(answers[0][1])


def connection() -> None:
    """Draw the service's address and the field for the visitor's key."""
    st.header("Settings")
    with st.expander("Connection"):
        st.write(f"Service: `{asking.URL}`")
        st.text_input("API key", type="password", key="api_key", help="Kept for this visit alone.")


def controls(versions: VersionList) -> Wish:
    """Draw the settings, and return how to segment."""
    serving = versions.serving
    names = [f"{entry.name}@{entry.version}" for entry in versions.models]
    current = serving.label if serving else None
    model = st.selectbox(
        "Model version", names, index=names.index(current) if current in names else 0,
        format_func=lambda name: name + " · production" * (name == current),
    )  # fmt: skip
    card = asking.once(("card", model), lambda: asking.client().model(model).card)
    rules = card.get("postprocess", {})
    own, margin = float(rules.get("threshold", 0.5)), "middle"
    if rules.get("tight_threshold") and rules.get("loose_threshold"):
        margin = st.radio(
            "Margin of the outline", ("tight", "middle", "loose"), 1, horizontal=True,
            help="Experts who draw by hand stay farther outside the visible edge than tools that "
            "fill a region.",
        )  # fmt: skip
    preset = own if margin == "middle" else float(rules[f"{margin}_threshold"])
    threshold = st.slider(
        "Threshold", 0.05, 0.95, preset, 0.05, key=f"threshold-{model}-{margin}",
        help="Probability above which a pixel is lesion. Lower finds more.",
    )  # fmt: skip
    st.caption(f"The version's own, chosen on validation images, is {own:.2f}.")
    spacing = st.number_input(
        "Side of a pixel, mm", 0.0, 10.0, 0.0, 0.001, format="%.4f",
        help="Of every photograph whose own ruler was not measured. 0: unknown, measurements in "
        "pixels alone. A dermatoscope's magnification is not a pixel's size.",
    )  # fmt: skip
    return Wish(
        model=None if model == current else model,
        threshold=None if abs(threshold - own) < 1e-6 else threshold,
        spacing_mm=spacing or None,
    )


def segment(
    photographs: list[Photograph], wish: Wish
) -> list[tuple[Photograph, Segmentation | ClientError]]:
    """Segment all photographs; where the service itself cannot answer, say so, and return none."""
    answers: list[tuple[Photograph, Segmentation | ClientError]] = []
    total = len(photographs)
    bar = st.progress(0.0, f"Segmenting {total} photographs") if total > 1 else None
    for pair in asking.segment_all(photographs, wish):
        answers.append(pair)
        if bar:
            bar.progress(len(answers) / total, f"{len(answers)} of {total} photographs segmented")
        if isinstance(pair[1], ClientError) and asking.is_for_all(pair[1]):
            asking.explain(pair[1])
            return []
    if bar:
        bar.empty()
    return answers


main()
