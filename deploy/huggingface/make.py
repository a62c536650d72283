"""Make the folder of a Hugging Face repository: of a version, or of a Space with the page.

    python -m deploy.huggingface.make model hub/model          # what production points to
    python -m deploy.huggingface.make space hub/space

Nothing is uploaded: `hf upload NAME hub/model` does that, for those who may. Needs huggingface_hub.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from docs.reference import card as card_in_words
from model_core.card import Card
from model_core.registry.registry import PRODUCTION, Registry
from model_core.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
NAME = "lesion-unet"
METRICS = ("dice", "jaccard", "threshold_jaccard")
SPACE = ("model_core", "service", "demo", "pyproject.toml", "constraints.txt", "LICENSE")
"""What the page and the service behind it need."""


def model(out: Path) -> None:
    """Copy the production version, and write the card that the hub shows and indexes."""
    from huggingface_hub import ModelCard

    registry = Registry(ROOT / "models")
    version = registry.resolve(NAME, PRODUCTION)
    card, _ = registry.card(NAME, version)
    shutil.copytree(ROOT / "models" / NAME / version, out)
    shutil.copy(ROOT / "models" / "LICENSE.md", out / "LICENSE.md")
    shutil.copy(ROOT / "keys" / "RELEASE.pub", out / "RELEASE.pub")
    words = (HERE / "model.md").read_text(encoding="utf-8").format(version=version, code=VERSION)
    ModelCard(f"---\n{metadata(card).to_yaml()}\n---\n\n{words}\n{card_in_words()}\n").save(
        out / "README.md"
    )


def metadata(card: Card) -> Any:
    """Return the card's metadata as the hub reads it, its scores among them."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for record in card.scores:
        summary: Any = record.summary
        results += [
            EvalResult(
                task_type="image-segmentation",
                dataset_type=record.dataset,
                dataset_name=record.dataset,
                dataset_split=record.part,
                metric_type=metric,
                metric_name=f"{metric}, mean per image",
                metric_value=round(summary["per_image"][metric]["mean"], 4),
            )
            for metric in METRICS
        ]
    return ModelCardData(
        model_name=f"{card.name} {card.version}",
        eval_results=results,
        license="other",
        license_name="research-non-commercial",
        license_link="LICENSE.md",
        pipeline_tag="image-segmentation",
        library_name="safetensors",
        tags=["dermoscopy", "skin-lesion", "u-net", "medical-imaging", "openvino"],
        metrics=list(METRICS),
    )


def space(out: Path) -> None:
    """Copy the page, the service and the production version, with a Dockerfile that starts them."""
    version = Registry(ROOT / "models").resolve(NAME, PRODUCTION)
    ignore = shutil.ignore_patterns("__pycache__", "shipped")
    out.mkdir(parents=True)
    for part in SPACE:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, out / part, ignore=ignore)
        else:
            shutil.copy(source, out / part)
    shutil.copytree(ROOT / "models" / NAME / version, out / "models" / NAME / version)
    shutil.copy(ROOT / "models" / NAME / "aliases.json", out / "models" / NAME)
    shutil.copytree(ROOT / "keys", out / "keys")
    shutil.copy(HERE / "Dockerfile", out / "Dockerfile")
    shutil.copy(HERE / "space.md", out / "README.md")


def main() -> int:
    """Make one of the two."""
    kinds = {"model": model, "space": space}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        print(__doc__, file=sys.stderr)
        return 2
    kinds[sys.argv[1]](Path(sys.argv[2]))
    print(f"written to {sys.argv[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
