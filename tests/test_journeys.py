"""The same bytes give the same mask on every way through the repository."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from starlette.testclient import TestClient

from model_core.backends.protocol import BackendName
from model_core.masks.png import decode_mask
from model_core.processing.preprocess import PreprocessConfig, preprocess
from model_core.registry.registry import PRODUCTION, LoadedVersion, Registry
from model_core.scores.metrics import score_image
from service.app import create_app
from service.settings import Settings
from tests.conftest import REPOSITORY
from trainer.archive.job import Job
from trainer.archive.predict import on_this_machine, predict_archive
from trainer.data.cache import open_cache
from trainer.data.drawn import write_drawn
from trainer.data.layouts import Listing, Pair, read_manifest
from trainer.data.prepare import prepare
from trainer.data.samples import Sample, read_photo, read_truth
from trainer.evaluation.evaluate import score

MODELS = REPOSITORY / "models"
NAME = "lesion-unet"


@pytest.fixture(
    scope="module", params=[pytest.param("pytorch-fp32", marks=pytest.mark.slow), "auto"]
)
def backend(request: pytest.FixtureRequest) -> BackendName:
    """The engine of the card's scores, and the one that the service takes here."""
    choice: BackendName = request.param
    return choice


@pytest.fixture(scope="module")
def shipped(backend: BackendName) -> LoadedVersion:
    registry = Registry(MODELS)
    return registry.load(NAME, registry.resolve(NAME, PRODUCTION), backend=backend)


@pytest.fixture(scope="module")
def client(backend: BackendName) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(model_registry=MODELS, backend=backend))) as client:
        yield client


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn(folder, count=3)
    return prepare(read_manifest(folder)).samples


@pytest.fixture(scope="module")
def photographs(real_data: Path) -> list[Sample]:
    """Two real photographs of each dataset, a squashed one among them."""
    first: dict[tuple[str, bool], Pair] = {}
    last: dict[str, Pair] = {}
    for pair in read_manifest(real_data).pairs:
        first.setdefault((pair.dataset, pair.aspect is None), pair)
        last[pair.dataset] = pair
    return prepare(Listing([*first.values(), *last.values()])).samples


def files(sample: Sample) -> dict[str, tuple[str, bytes]]:
    return {"image": ("photo", read_photo(sample)), "truth": ("mask.png", sample.mask.read_bytes())}


def assert_one_mask_everywhere(
    samples: list[Sample], shipped: LoadedVersion, client: TestClient, folder: Path
) -> None:
    scored = score(shipped.predictor, samples)
    (folder / "photographs").mkdir()
    for number, sample in enumerate(samples):
        (folder / "photographs" / f"{number}.png").write_bytes(read_photo(sample))
    job = Job(str(folder / "out"), {"model": shipped.label}, ("png",), shard_size=500)
    predict_archive(str(folder / "photographs"), job, on_this_machine(lambda: shipped.predictor))
    for number, (sample, by_trainer) in enumerate(zip(samples, scored, strict=True)):
        data = read_photo(sample)
        mask = shipped.predictor.predict(data).mask
        by_folder = (folder / "out" / "masks" / f"{number}.png.png").read_bytes()
        assert np.array_equal(decode_mask(by_folder), mask)
        png = client.post("/segment", content=data, headers={"Accept": "image/png"})
        assert by_folder == png.content
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png.content))), mask * np.uint8(255))
        rle = client.post("/segment?format=rle", files={"image": data}).json()
        assert np.array_equal(coco.decode(rle["segmentation"]).astype(bool), mask)
        assert by_trainer.scores == score_image(read_truth(sample), mask)


def test_predictor_segment_predict_and_trainer_agree_on_drawn_lesions(
    drawn: list[Sample], shipped: LoadedVersion, client: TestClient, tmp_path: Path
) -> None:
    assert_one_mask_everywhere(drawn, shipped, client, tmp_path)


def test_predictor_segment_predict_and_trainer_agree_on_real_photographs(
    photographs: list[Sample], shipped: LoadedVersion, client: TestClient, tmp_path: Path
) -> None:
    assert_one_mask_everywhere(photographs, shipped, client, tmp_path)


def test_evaluate_scores_the_very_mask_that_segment_gives(
    drawn: list[Sample], shipped: LoadedVersion, client: TestClient
) -> None:
    fields = [part for sample in drawn for part in files(sample).items()]
    items = client.post("/evaluate", files=fields).json()["items"]
    for item, by_trainer in zip(items, score(shipped.predictor, drawn), strict=True):
        scores = by_trainer.scores.metrics | by_trainer.scores.distances
        assert {name: item[name] for name in scores} == scores


def test_training_sees_the_pixels_that_the_service_gives_the_network(
    drawn: list[Sample], shipped: LoadedVersion, tmp_path: Path
) -> None:
    config: PreprocessConfig = shipped.card.preprocess
    cached = open_cache(drawn, config, tmp_path)
    for row, sample in enumerate(drawn):
        assert np.array_equal(cached.images[row], preprocess(read_photo(sample), config)[0])


def test_the_shipped_version_finds_drawn_and_real_lesions(
    drawn: list[Sample], photographs: list[Sample], shipped: LoadedVersion
) -> None:
    scored = score(shipped.predictor, [*drawn, *photographs])
    found = [entry.scores.metrics["dice"] for entry in scored]
    assert sum(value > 0.7 for value in found) >= 0.8 * len(found)
