"""Masks of a whole folder: PNG files, and one COCO JSON that COCO tools read as it stands.

    python -m trainer predict photographs --model production --out masks

leaves in --out: masks/ (the folder's own tree, a PNG an image), predictions.json (COCO) and
skipped.csv (images that could not be used, and why). Stopped, it goes on where it was.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model_core.errors import ConfigError, DatasetError, InputError
from model_core.mask_png import encode_mask
from model_core.predictor import Predictor
from model_core.rle import area_and_bbox, encode_rle
from trainer.run import held, write_json
from trainer.tables import replace_text, write_table

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
CATEGORY = {"id": 1, "name": "skin lesion"}
_JOURNAL = "progress.jsonl"
_IN_FLIGHT = 8


@dataclass(frozen=True)
class Outcome:
    """How a folder's prediction ended.

    Attributes:
        masks: Number of masks there are.
        skipped: (path within the folder, reason) of each image that could not be used.
    """

    masks: int
    skipped: list[tuple[str, str]]


def predict_folder(source: Path, out: Path, predictor: Predictor, *, model: str) -> Outcome:
    """Predict every image below a folder.

    Args:
        source: Folder of JPEG, PNG, TIFF, BMP, WebP or DICOM (.dcm) files, in sub-folders too.
        out: Folder for the results, made where absent; must not lie within `source`.
        predictor: Makes the masks.
        model: Says which weights these are: a folder of results is of one model alone.

    Raises:
        DatasetError: no such folder, or no image in it.
        ConfigError: `out` lies within `source`, or holds another model's results.
    """
    images = _images(source, out)
    with held(out):
        return _predict_all(images, source, out, predictor, model)


def _predict_all(
    images: list[str], source: Path, out: Path, predictor: Predictor, model: str
) -> Outcome:
    journal = out / _JOURNAL
    rules = {**asdict(predictor.preprocess_config), **asdict(predictor.postprocess_config)}
    header = json.loads(json.dumps({"model": model, **rules}))
    done = _read_journal(journal, header)
    todo = [
        name
        for name in images
        if _is_new(source / name, done.get(name)) or not mask_path(out, name).is_file()
    ]
    with (
        journal.open("a", encoding="utf-8") as file,
        ThreadPoolExecutor(3) as pool,
        tqdm(total=len(images), initial=len(images) - len(todo), desc="predict") as bar,
    ):
        for entry in _entries(todo, source, out, predictor, pool):
            file.write(json.dumps(entry) + "\n")
            file.flush()
            done[entry["file_name"]] = entry
            bar.update()
    entries = [done[name] for name in images]
    skipped = [(e["file_name"], e["problem"]) for e in entries if "problem" in e]
    write_json(out / "predictions.json", _coco(entries, header))
    write_table(out / "skipped.csv", ("file_name", "problem"), skipped)
    return Outcome(len(entries) - len(skipped), skipped)


def mask_path(out: Path, name: str) -> Path:
    """Where the mask of an image lies: its own name with `.png` added, so that none collide."""
    return out / "masks" / f"{name}.png"


def _images(source: Path, out: Path) -> list[str]:
    if not source.is_dir():
        raise DatasetError(f"no folder at {source}, expected one with photographs")
    for inner, outer in ((out, source), (source, out)):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise ConfigError(f"{inner} lies within {outer}: masks would be read as photographs")
    paths = (path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = sorted(path.relative_to(source).as_posix() for path in paths if path.is_file())
    if not names:
        raise DatasetError(f"{source} holds no image ({', '.join(sorted(SUFFIXES))})")
    return names


def _entries(
    names: list[str], source: Path, out: Path, predictor: Predictor, pool: Executor
) -> Iterator[dict[str, Any]]:
    """One entry an image, in order: decoding and encoding run beside the network."""
    decoding: list[tuple[str, Future[Any]]] = []
    encoding: list[Future[dict[str, Any]]] = []

    def read(name: str) -> Any:
        state, data = _state(source / name), (source / name).read_bytes()
        known = {"file_name": name, "sha256": hashlib.sha256(data).hexdigest(), **state}
        return known, predictor.prepare(data)

    def write(known: dict[str, Any], logits: Any, geometry: Any) -> dict[str, Any]:
        mask = predictor.finish(logits, geometry).mask
        path = mask_path(out, known["file_name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        beside.write_bytes(encode_mask(mask))
        beside.replace(path)
        rle = encode_rle(mask)
        area, bbox = area_and_bbox(rle)
        size = dict(zip(("height", "width"), mask.shape, strict=True))
        found = {"segmentation": rle, "area": area, "bbox": bbox}
        return {**known, **size, **found}

    def infer(name: str, decoded: Future[Any]) -> Future[dict[str, Any]]:
        try:
            known, prepared = decoded.result()
        except (InputError, OSError) as exc:
            mask_path(out, name).unlink(missing_ok=True)  # of the file as it once was
            return pool.submit(dict, file_name=name, problem=str(exc))
        logits = predictor.infer(prepared.pixels[None])[0]
        return pool.submit(write, known, logits, prepared.geometry)

    for name in [*names, None]:
        if name is not None:
            decoding.append((name, pool.submit(read, name)))
        while decoding and (name is None or len(decoding) > _IN_FLIGHT):
            encoding.append(infer(*decoding.pop(0)))
            while len(encoding) > _IN_FLIGHT:
                yield encoding.pop(0).result()
    for written in encoding:
        yield written.result()


def _read_journal(path: Path, header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries written by a run before this one; a file of this model's header where there is none.

    Images that could not be used are tried again: they may have been put right.
    """
    if not path.exists():
        path.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return {}
    text = path.read_text(encoding="utf-8")
    # Without its line end the last entry was cut off by a kill, and its image comes again.
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    try:
        stored, *entries = [json.loads(line) for line in lines] or [header]
        former = stored["model"]
    except (ValueError, LookupError, TypeError) as exc:
        raise ConfigError(f"{path} is damaged ({exc}): choose another --out") from exc
    if stored != header:
        raise ConfigError(
            f"{path.parent} holds results of {former} (or of other rules: {stored}), not of "
            f"{header}: choose another --out"
        )
    replace_text(path, "".join([json.dumps(header) + "\n", *lines[1:]]))
    return {entry["file_name"]: entry for entry in entries if "problem" not in entry}


def _state(path: Path) -> dict[str, int]:
    """By what a file that was changed is told from one that was not, without reading it."""
    found = path.stat()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def _is_new(path: Path, entry: dict[str, Any] | None) -> bool:
    return entry is None or any(entry.get(key) != value for key, value in _state(path).items())


def _coco(entries: list[dict[str, Any]], header: dict[str, Any]) -> dict[str, Any]:
    """The results in COCO's format for objects; no annotation where no lesion was found."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, start=1):
        if "problem" in entry:
            continue
        kept = {key: entry[key] for key in ("file_name", "height", "width", "sha256")}
        images.append({"id": number, **kept})
        if entry["area"]:
            found = {key: entry[key] for key in ("segmentation", "area", "bbox")}
            place = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append(place | found)
    return {
        "info": {"description": "Skin-lesion masks; not for diagnosis", **header},
        "images": images,
        "annotations": annotations,
        "categories": [CATEGORY],
    }
