"""Keep corrected photographs in a folder or bucket: the one place where a photograph is written.

    <root>/MANIFEST.csv                       a row a photograph, of its last correction
    <root>/<SHA-256 of photograph>-<time>/    photograph.jpg, model.png, corrected.png
                                              and correction.json, which is written last

`trainer prepare <root>` reads the manifest as it is. A correction is kept when its folder and its
row are there. A folder appears whole, and before its row; a row that cannot be written takes its
folder away again. What a process that was killed left between the two, `open` puts right.
"""

import csv
import errno
import hashlib
import io
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from model_core.errors import ConfigError, RegistryUnavailableError, SegmentationError
from model_core.images.file_types import sniff
from model_core.registry.local_store import LocalStore
from model_core.registry.object_store import open_store
from service.answers.annotations import model_ref
from service.answers.segmented import Segmented
from service.contract.corrections import Correction
from service.contract.errors import StorageFullError, StorageUnavailableError
from service.contract.schemas import ImageRef

MANIFEST = "MANIFEST.csv"
RECORD = "correction.json"
MODEL_MASK, CORRECTED_MASK = "model.png", "corrected.png"
DATASET = "corrections"
"""Name of the data set in the manifest."""
_FOLDER = re.compile(r"([0-9a-f]{64})-\d{8}T\d{12}Z")
_COLUMNS = (
    "dataset", "id", "image", "mask", "model_mask", "annotator", "seconds", "created", "model",
    "model_sha256", "threshold", "mask_sha256",
)  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "DICOM": ".dcm"}
Rows = dict[str, dict[str, str]]
"""Rows of the manifest, by the photograph's SHA-256."""

logger = logging.getLogger("service.corrections")


class Sent(NamedTuple):
    """A correction as a caller sends it.

    Attributes:
        image: The photograph's file.
        mask: The corrected mask's: PNG or COCO JSON.
        annotator: Pseudonym of who corrected it.
        seconds: Time spent on it, s; None where it was not sent.
    """

    image: bytes
    mask: bytes
    annotator: str
    seconds: float | None


class Corrections:
    """The corrections below a folder or URL. Several processes may write there at once.

    Args:
        root: The folder, or a URL of fsspec.
    """

    def __init__(self, root: Path | str) -> None:
        self._root = root
        self._store = open_store(root)

    def open(self) -> None:
        """Make the folder where it is absent, and bring the manifest into line with what is there.

        Raises:
            ConfigError: it cannot be written, or its manifest is not one of ours.
        """
        try:
            if isinstance(self._store, LocalStore):
                self._store.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store.replace(MANIFEST, self._in_line)
        except (OSError, RegistryUnavailableError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise ConfigError(f"{self._root} cannot keep corrections: {reason}") from exc

    def photographs(self) -> int:
        """Count the photographs of which a correction is kept."""
        with _storing("counted"):
            return len(self._rows())

    def keep(
        self, sent: Sent, image: Segmented, masks: Mapping[str, bytes], key: str | None
    ) -> Correction:
        """Keep a correction, whole or not at all; the last one of a photograph counts.

        One that says the same as the last one is that one: whoever lost the answer may send again.

        Args:
            sent: What the caller sent.
            image: What the version made of its photograph.
            masks: PNG files of the model's mask and of the corrected one, by their file names.
            key: ID of the caller's API key.

        Raises:
            StorageFullError: there is no room; nothing was kept.
            StorageUnavailableError: it cannot be written; nothing was kept.
        """
        correction, files = _described(sent, image, masks, key)
        with _storing("kept"):
            if last := self._same(correction):
                return last
            self._store.keep(correction.id, files)
            try:
                self._store.replace(MANIFEST, partial(_with_row, correction))
            except BaseException:
                with suppress(OSError, SegmentationError):
                    self._store.remove(correction.id)
                raise
        return correction

    def delete(self, image_sha256: str) -> int:
        """Delete every correction of a photograph, and the photograph with them.

        Returns:
            How many there were.
        """
        with _storing("deleted"):
            folders = [name for name in self._store.folders() if name.startswith(image_sha256)]
            folders = [name for name in folders if _FOLDER.fullmatch(name)]
            for name in folders:
                self._store.remove(name)
            self._store.replace(MANIFEST, self._in_line)
        return len(folders)

    def _rows(self) -> Rows:
        # `open` has made it: where it is gone, so is the disk, and nothing is written in its place.
        return _parse(self._store.read(MANIFEST))

    def _same(self, correction: Correction) -> Correction | None:
        """Find the photograph's last correction, where it says the same; else None."""
        row = self._rows().get(correction.image.sha256)
        if row is None or row["mask_sha256"] != correction.files[CORRECTED_MASK]:
            return None
        try:
            last = self._record(_folder_of(row))
        except FileNotFoundError:  # it was just deleted, or its folder removed by hand
            return None
        told = {"annotator", "seconds", "key", "model", "threshold"}
        same = last.model_dump(include=told) == correction.model_dump(include=told)
        return last if same else None

    def _record(self, folder: str) -> Correction:
        return Correction.model_validate_json(self._store.read(f"{folder}/{RECORD}"))

    def _in_line(self, manifest: bytes | None) -> bytes:
        """Make the manifest of the folders that are there; a row that is right is kept."""
        before = {} if manifest is None else _parse(manifest)
        last: dict[str, str] = {}
        for name in sorted(self._store.holding("", RECORD)):
            if match := _FOLDER.fullmatch(name):
                last[match[1]] = name  # their names sort by time
        rows: Rows = {}
        for sha256, name in sorted(last.items(), key=lambda item: item[1].rpartition("-")[2]):
            row = before.get(sha256)
            rows[sha256] = row if row and _folder_of(row) == name else _row(self._record(name))
        return _dump(rows)


def _described(
    sent: Sent, image: Segmented, masks: Mapping[str, bytes], key: str | None
) -> tuple[Correction, dict[str, bytes]]:
    """Describe a correction, and collect its files by name; its record is the last."""
    kind = sniff(sent.image) or ""
    photograph = f"photograph{_SUFFIXES.get(kind, f'.{kind.lower()}')}"
    files = {photograph: sent.image, **masks}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    geometry, created = image.prepared.geometry, datetime.now(UTC)
    correction = Correction(
        id=f"{hashes[photograph]}-{created:%Y%m%dT%H%M%S%f}Z",
        created=created,
        annotator=sent.annotator,
        seconds=sent.seconds,
        key=key,
        image=ImageRef(height=geometry.height, width=geometry.width, sha256=hashes[photograph]),
        model=model_ref(image.version),
        threshold=image.prediction.threshold,
        files=hashes,
    )
    return correction, {**files, RECORD: correction.model_dump_json(indent=2).encode()}


def _with_row(correction: Correction, manifest: bytes | None) -> bytes:
    """Add a correction to a manifest, in place of the photograph's former one."""
    rows = {} if manifest is None else _parse(manifest)
    sha256 = correction.image.sha256
    if sha256 in rows and _folder_of(rows[sha256]) > correction.id:
        return _dump(rows)  # another process was later, and quicker
    rows.pop(sha256, None)
    rows[sha256] = _row(correction)
    return _dump(rows)


def _row(correction: Correction) -> dict[str, str]:
    (photograph,) = correction.files.keys() - {MODEL_MASK, CORRECTED_MASK}
    cells = {
        "dataset": DATASET,
        "id": correction.image.sha256,
        "image": f"{correction.id}/{photograph}",
        "mask": f"{correction.id}/{CORRECTED_MASK}",
        "model_mask": f"{correction.id}/{MODEL_MASK}",
        "annotator": correction.annotator,
        "seconds": "" if correction.seconds is None else f"{correction.seconds:g}",
        "created": correction.created.isoformat(),
        "model": correction.model.label,
        "model_sha256": correction.model.sha256,
        "threshold": f"{correction.threshold:g}",
        "mask_sha256": correction.files[CORRECTED_MASK],
    }
    return {name: cells[name] for name in _COLUMNS}


def _folder_of(row: Mapping[str, str]) -> str:
    return row["mask"].partition("/")[0]


def _parse(manifest: bytes) -> Rows:
    reader = csv.DictReader(io.StringIO(manifest.decode("utf-8", "replace")))
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise ConfigError(f"{MANIFEST} is not one that this service wrote, expected {_COLUMNS}")
    return {row["id"]: row for row in reader}


def _dump(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    return text.getvalue().encode()


@contextmanager
def _storing(what: str) -> Iterator[None]:
    """Turn what the disk or bucket says into an error of ours; the log has the reason."""
    try:
        yield
    except OSError as exc:
        logger.error("corrections=failed %s: %s", type(exc).__name__, exc.strerror or exc)
        kind = StorageFullError if exc.errno in _FULL else StorageUnavailableError
        reason = exc.strerror or type(exc).__name__
        raise kind(f"the correction was not {what}: {reason}") from exc
    except (RegistryUnavailableError, ConfigError, ValidationError) as exc:
        logger.error("corrections=failed %s", " ".join(str(exc).split()))
        raise StorageUnavailableError(
            f"the correction was not {what}: its place cannot be read or written"
        ) from exc
