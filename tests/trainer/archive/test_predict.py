import csv
import json
from dataclasses import asdict
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from model_core.errors import ConfigError, DatasetError
from model_core.masks.measurements import measure
from model_core.masks.png import decode_mask
from model_core.predictor import Predictor, Prepared
from tests.fixtures.dicom_files import dicom
from tests.fixtures.models import dark_predictor
from trainer.archive.job import Job
from trainer.archive.predict import Outcome, on_this_machine, predict_archive
from trainer.data.drawn import draw_lesion

NAMES = ("a.png", "b.jpg", "clinic/a.png")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three photographs, one of them in a sub-folder, and a file that is none."""
    folder = tmp_path / "photographs"
    (folder / "clinic").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.fromarray(draw_lesion(number, height=96, width=128)[0]).save(folder / name)
    (folder / "notes.txt").write_text("no photograph")
    return folder


def predict(
    source: Path,
    out: Path,
    predictor: Predictor | None = None,
    *,
    model: str = "dark 1.0.0",
    formats: tuple[str, ...] = ("png", "coco"),
    shard_size: int = 2,
) -> Outcome:
    predictor = predictor or dark_predictor()
    rules = {"model": model, **asdict(predictor.postprocess_config)}
    job = Job(str(out), rules, formats, shard_size)
    return predict_archive(str(source), job, on_this_machine(lambda: predictor))


def mask_path(out: Path, name: str) -> Path:
    return out / "masks" / f"{name}.png"


def counting(asked: list[bytes], *, stop_at: int | None = None) -> Predictor:
    """A predictor that notes what it is asked for, and is interrupted at a certain photograph."""
    predictor = dark_predictor()
    prepare = predictor.prepare

    def counted(data: bytes) -> Prepared:
        asked.append(data)
        if len(asked) == stop_at:
            raise KeyboardInterrupt
        return prepare(data)

    predictor.prepare = counted  # type: ignore[method-assign]
    return predictor


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for what a process holds it by."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_every_photograph_gets_the_predictor_s_mask_under_its_own_name(
    source: Path, tmp_path: Path
) -> None:
    outcome = predict(source, tmp_path / "out")
    assert (outcome.images, outcome.done_now, outcome.skipped) == (3, 3, [])
    for name in NAMES:
        expected = dark_predictor().predict((source / name).read_bytes()).mask
        assert expected.any()
        assert np.array_equal(decode_mask(mask_path(tmp_path / "out", name).read_bytes()), expected)


def test_the_json_is_read_by_pycocotools_to_the_same_masks(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(source, out)
    shards = [COCO(path) for path in sorted((out / "coco").iterdir())]
    assert [len(shard.imgs) for shard in shards] == [2, 1]
    whole = COCO(out / "predictions.json")
    assert whole.anns == {key: found for shard in shards for key, found in shard.anns.items()}
    assert [whole.imgs[key]["file_name"] for key in sorted(whole.imgs)] == list(NAMES)
    for annotation in whole.anns.values():
        name = whole.imgs[annotation["image_id"]]["file_name"]
        mask = decode_mask(mask_path(out, name).read_bytes())
        assert np.array_equal(whole.annToMask(annotation) != 0, mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()


def test_a_large_archive_s_shards_are_not_joined(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.archive.predict.JOINED", 2)
    predict(source, tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.json").exists()
    assert len(list((tmp_path / "out" / "coco").iterdir())) == 2


def test_only_the_formats_that_were_asked_for_are_written(source: Path, tmp_path: Path) -> None:
    predict(source, tmp_path / "out", formats=("coco",))
    assert not (tmp_path / "out" / "masks").exists()
    assert (tmp_path / "out" / "predictions.json").is_file()


def test_dicom_files_are_photographs_too(source: Path, tmp_path: Path) -> None:
    picture = Image.open(source / "a.png").convert("RGB")
    (source / "c.dcm").write_bytes(dicom(picture))
    assert predict(source, tmp_path / "out").images == 4
    a, c = (mask_path(tmp_path / "out", name).read_bytes() for name in ("a.png", "c.dcm"))
    assert a == c


def test_a_bad_image_is_listed_and_skipped(source: Path, tmp_path: Path) -> None:
    (source / "bad.jpg").write_bytes((source / "b.jpg").read_bytes()[:300])
    outcome = predict(source, tmp_path / "out")
    ((name, problem),) = outcome.skipped
    assert (name, "truncated" in problem) == ("bad.jpg", True)
    with (tmp_path / "out" / "skipped.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"file_name": name, "problem": problem}]
    names = {entry["file_name"] for entry in coco(tmp_path / "out")["images"]}
    assert names == set(NAMES)


def test_a_photograph_without_lesion_has_a_mask_and_no_annotation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 30), "white").save(tmp_path / "in" / "white.png")
    predict(tmp_path / "in", tmp_path / "out")
    assert not decode_mask(mask_path(tmp_path / "out", "white.png").read_bytes()).any()
    assert coco(tmp_path / "out")["annotations"] == []


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_prediction_goes_on_to_the_very_files_of_one_that_was_not(
    source: Path, tmp_path: Path, stop_at: int
) -> None:
    out = tmp_path / "out"
    predict(source, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        predict(source, out, counting([], stop_at=stop_at))
    assert not (out / "predictions.json").exists()
    predict(source, out)
    assert files(out) == files(tmp_path / "whole")


def test_a_shard_that_is_there_is_not_done_again(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(source, tmp_path / "out", counting([], stop_at=3))
    asked: list[bytes] = []
    outcome = predict(source, tmp_path / "out", counting(asked))
    assert asked == [(source / "clinic/a.png").read_bytes()]
    assert (outcome.images, outcome.done_now) == (3, 1)
    assert predict(source, tmp_path / "out", counting(asked)).done_now == 0
    assert len(asked) == 1


def test_a_bad_image_that_was_put_right_gets_its_mask(source: Path, tmp_path: Path) -> None:
    good = (source / "b.jpg").read_bytes()
    (source / "b.jpg").write_bytes(good[:300])
    assert len(predict(source, tmp_path / "out").skipped) == 1
    (source / "b.jpg").write_bytes(good)
    assert predict(source, tmp_path / "out").skipped == []
    predict(source, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_photographs_that_came_changed_or_went_leave_the_files_of_a_fresh_start(
    source: Path, tmp_path: Path
) -> None:
    predict(source, tmp_path / "out")
    Image.fromarray(draw_lesion(40, height=96, width=128)[0]).save(source / "b.jpg")
    Image.fromarray(draw_lesion(41, height=96, width=128)[0]).save(source / "aa.png")
    (source / "clinic/a.png").unlink()
    predict(source, tmp_path / "out")
    predict(source, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_mask_of_what_is_now_a_bad_image_is_not_kept(source: Path, tmp_path: Path) -> None:
    predict(source, tmp_path / "out")
    (source / "b.jpg").write_bytes((source / "b.jpg").read_bytes()[:300])
    predict(source, tmp_path / "out")
    assert not mask_path(tmp_path / "out", "b.jpg").exists()


@pytest.mark.parametrize("other", [{"model": "dark 2.0.0"}, {"shard_size": 3}])
def test_results_of_two_jobs_do_not_mix(
    source: Path, tmp_path: Path, other: dict[str, object]
) -> None:
    predict(source, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"results of dark 1\.0\.0 .* choose another --out"):
        predict(source, tmp_path / "out", **other)  # type: ignore[arg-type]


def test_a_damaged_note_of_the_job_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "archive.json").write_text("no JSON\n")
    with pytest.raises(ConfigError, match=r"archive\.json is damaged"):
        predict(source, tmp_path / "out")


def test_a_folder_that_cannot_be_read_from_or_written_to_is_named(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="no folder at"):
        predict(tmp_path / "none", tmp_path / "out")
    with pytest.raises(ConfigError, match="lies within"):
        predict(source, source / "masks")
    with pytest.raises(ConfigError, match="lies within"):
        predict(source / "clinic", source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        predict(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def coco(out: Path) -> dict[str, list[dict[str, object]]]:
    content: dict[str, list[dict[str, object]]] = json.loads((out / "predictions.json").read_text())
    return content


def test_a_bucket_gives_and_takes_as_a_folder_does(
    source: Path, tmp_path: Path, bucket: str
) -> None:
    fs = fsspec.filesystem("s3")
    (source / "bad.jpg").write_bytes(b"no photograph")
    fs.put(str(source), f"{bucket}/in", recursive=True)
    rules = {"model": "dark 1.0.0", **asdict(dark_predictor().postprocess_config)}
    job = Job(f"{bucket}/out", rules, ("png", "coco", "parquet"), 2)
    interrupted = counting([], stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        predict_archive(f"{bucket}/in", job, on_this_machine(lambda: interrupted))
    outcome = predict_archive(f"{bucket}/in", job, on_this_machine(dark_predictor))
    assert (outcome.images, outcome.done_now, len(outcome.skipped)) == (4, 2, 1)
    predict(source, tmp_path / "out", formats=job.formats)
    local = files(tmp_path / "out")
    remote = fs.find(f"{bucket}/out")
    assert len(remote) == len(local)
    for name in ("predictions.json", "skipped.csv", *(f"masks/{name}.png" for name in NAMES)):
        assert fs.cat_file(f"{bucket}/out/{name}") == local[name]


def test_parquet_holds_run_lengths_and_measurements(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Image.new("RGB", (40, 30), "white").save(source / "white.png")
    (source / "bad.jpg").write_bytes(b"no photograph")
    predict(source, out, formats=("png", "parquet"))
    table = pq.read_table(out / "parquet")
    rows = {row["file_name"]: row for row in table.to_pylist()}
    assert set(rows) == {*NAMES, "white.png"}
    for name, row in rows.items():
        rle = {"size": [row["height"], row["width"]], "counts": row["rle_counts"]}
        mask = decode_mask(mask_path(out, name).read_bytes())
        assert np.array_equal(coco_mask.decode(rle) != 0, mask)
        shape = measure(mask)
        assert row["feret_diameter_px"] == (shape and shape.feret_diameter)
        assert row["asymmetry_shorter_axis"] == (shape and shape.asymmetry[1])
    assert rows["white.png"]["area_px"] == 0
