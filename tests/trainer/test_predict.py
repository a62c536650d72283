import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from model_core.errors import ConfigError, DatasetError
from model_core.mask_png import decode_mask
from model_core.postprocess import PostprocessConfig
from model_core.predictor import Prepared
from tests.dicom_files import dicom
from tests.models import dark_predictor
from trainer.drawn import draw_lesion
from trainer.predict import mask_path, predict_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three photographs, one of them in a sub-folder, and a file that is none."""
    folder = tmp_path / "photographs"
    (folder / "clinic").mkdir(parents=True)
    for number, name in enumerate(("a.png", "clinic/a.png", "b.jpg")):
        Image.fromarray(draw_lesion(number, height=96, width=128)[0]).save(folder / name)
    (folder / "notes.txt").write_text("no photograph")
    return folder


def test_every_photograph_gets_the_predictor_s_mask_under_its_own_name(
    source: Path, tmp_path: Path
) -> None:
    predictor, out = dark_predictor(), tmp_path / "out"
    outcome = predict_folder(source, out, predictor, model="dark 1.0.0")
    assert (outcome.masks, outcome.skipped) == (3, [])
    for name in ("a.png", "clinic/a.png", "b.jpg"):
        expected = predictor.predict((source / name).read_bytes()).mask
        assert expected.any()
        assert np.array_equal(decode_mask(mask_path(out, name).read_bytes()), expected)


def test_the_json_is_read_by_pycocotools_to_the_same_masks(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_folder(source, out, dark_predictor(), model="dark 1.0.0")
    coco = COCO(out / "predictions.json")
    assert [coco.imgs[key]["file_name"] for key in sorted(coco.imgs)] == [
        "a.png",
        "b.jpg",
        "clinic/a.png",
    ]
    for annotation in coco.anns.values():
        name = coco.imgs[annotation["image_id"]]["file_name"]
        mask = decode_mask(mask_path(out, name).read_bytes())
        assert np.array_equal(coco.annToMask(annotation) != 0, mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()


def test_dicom_files_are_photographs_too(source: Path, tmp_path: Path) -> None:
    picture = Image.open(source / "a.png").convert("RGB")
    (source / "c.dcm").write_bytes(dicom(picture))
    outcome = predict_folder(source, tmp_path / "out", dark_predictor(), model="dark 1.0.0")
    assert outcome.masks == 4
    a, c = (mask_path(tmp_path / "out", name).read_bytes() for name in ("a.png", "c.dcm"))
    assert a == c


def test_a_bad_image_is_listed_and_skipped(source: Path, tmp_path: Path) -> None:
    (source / "bad.jpg").write_bytes((source / "b.jpg").read_bytes()[:300])
    outcome = predict_folder(source, tmp_path / "out", dark_predictor(), model="m")
    assert outcome.masks == 3
    ((name, problem),) = outcome.skipped
    assert (name, "truncated" in problem) == ("bad.jpg", True)
    with (tmp_path / "out" / "skipped.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"file_name": name, "problem": problem}]
    names = {entry["file_name"] for entry in _coco(tmp_path / "out")["images"]}
    assert names == {"a.png", "b.jpg", "clinic/a.png"}


def test_a_photograph_without_lesion_has_a_mask_and_no_annotation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 30), "white").save(tmp_path / "in" / "white.png")
    predict_folder(tmp_path / "in", tmp_path / "out", dark_predictor(), model="m")
    assert not decode_mask(mask_path(tmp_path / "out", "white.png").read_bytes()).any()
    assert _coco(tmp_path / "out")["annotations"] == []


def test_a_stopped_prediction_goes_on_where_it_was(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_folder(source, tmp_path / "whole", dark_predictor(), model="m")
    stops = dark_predictor()
    good, asked = stops.prepare, []

    def prepare(data: bytes) -> Prepared:
        asked.append(data)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return good(data)

    stops.prepare = prepare  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, out, stops, model="m")
    assert not (out / "predictions.json").exists()
    # What a kill cuts off in the middle of a line does not count.
    with (out / "progress.jsonl").open("a") as file:
        file.write('{"file_name": "clinic/a.p')
    before = set((out / "masks").rglob("*.png"))
    predict_folder(source, out, dark_predictor(), model="m")
    assert _coco(out) == _coco(tmp_path / "whole")
    assert before <= set((out / "masks").rglob("*.png"))


def test_what_is_done_is_not_done_again_and_what_was_bad_is_tried_again(
    source: Path, tmp_path: Path
) -> None:
    good = (source / "b.jpg").read_bytes()
    (source / "b.jpg").write_bytes(good[:300])
    predict_folder(source, tmp_path / "out", dark_predictor(), model="m")
    (source / "b.jpg").write_bytes(good)
    counts = dark_predictor()
    prepare, asked = counts.prepare, []

    def counted(data: bytes) -> Prepared:
        asked.append(data)
        return prepare(data)

    counts.prepare = counted  # type: ignore[method-assign]
    assert predict_folder(source, tmp_path / "out", counts, model="m").skipped == []
    assert asked == [good]


def test_a_photograph_that_was_changed_since_gets_a_new_mask(source: Path, tmp_path: Path) -> None:
    predict_folder(source, tmp_path / "out", dark_predictor(), model="m")
    Image.fromarray(draw_lesion(40, height=96, width=128)[0]).save(source / "a.png")
    predict_folder(source, tmp_path / "out", dark_predictor(), model="m")
    expected = dark_predictor().predict((source / "a.png").read_bytes()).mask
    mask = decode_mask(mask_path(tmp_path / "out", "a.png").read_bytes())
    assert np.array_equal(mask, expected)
    assert len(_coco(tmp_path / "out")["images"]) == 3


def test_a_mask_that_was_deleted_is_made_again_and_one_of_a_bad_image_is_not_kept(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_folder(source, out, dark_predictor(), model="m")
    mask_path(out, "a.png").unlink()
    (source / "b.jpg").write_bytes((source / "b.jpg").read_bytes()[:300])
    assert predict_folder(source, out, dark_predictor(), model="m").masks == 2
    assert mask_path(out, "a.png").is_file()
    assert not mask_path(out, "b.jpg").exists()


def test_results_of_two_rules_do_not_mix(source: Path, tmp_path: Path) -> None:
    predict_folder(source, tmp_path / "out", dark_predictor(), model="m")
    other = dark_predictor(postprocess=PostprocessConfig(fill_holes=False))
    with pytest.raises(ConfigError, match="choose another --out"):
        predict_folder(source, tmp_path / "out", other, model="m")


def test_a_damaged_journal_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "progress.jsonl").write_text("no JSON\n")
    with pytest.raises(ConfigError, match=r"progress\.jsonl is damaged"):
        predict_folder(source, tmp_path / "out", dark_predictor(), model="m")


def test_results_of_two_models_do_not_mix(source: Path, tmp_path: Path) -> None:
    predict_folder(source, tmp_path / "out", dark_predictor(), model="lesion-unet@1.0.0")
    with pytest.raises(ConfigError, match=r"results of lesion-unet@1\.0\.0 .* choose another"):
        predict_folder(source, tmp_path / "out", dark_predictor(), model="lesion-unet@2.0.0")


def test_a_folder_that_cannot_be_read_from_or_written_to_is_named(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="no folder at"):
        predict_folder(tmp_path / "none", tmp_path / "out", dark_predictor(), model="m")
    with pytest.raises(ConfigError, match="lies within"):
        predict_folder(source, source / "masks", dark_predictor(), model="m")
    with pytest.raises(ConfigError, match="lies within"):
        predict_folder(source / "clinic", source, dark_predictor(), model="m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        predict_folder(tmp_path / "empty", tmp_path / "out", dark_predictor(), model="m")
    assert not (tmp_path / "out").exists()


def _coco(out: Path) -> dict[str, list[dict[str, object]]]:
    content: dict[str, list[dict[str, object]]] = json.loads((out / "predictions.json").read_text())
    return content
