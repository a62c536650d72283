"""Published versions in a folder: immutable, verified on load, named by aliases.

    <root>/<name>/<version>/model.safetensors, card.json, golden.json
    <root>/<name>/aliases.json

A version is written beside, synced and renamed; a crash leaves the old state or the new one.
"""

import base64
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from model_core.arrays import Mask
from model_core.backends.pytorch import PyTorchBackend
from model_core.card import (
    Card,
    check_name,
    check_version,
    dump_card,
    is_name,
    is_version,
    parse_card,
    version_order,
)
from model_core.errors import (
    ConfigError,
    CorruptVersionError,
    InputError,
    VersionExistsError,
    VersionNotFoundError,
)
from model_core.image_io import MAX_PIXELS
from model_core.metrics import jaccard
from model_core.predictor import Predictor
from model_core.rle import decode_rle, encode_rle
from model_core.unet import UNet
from model_core.weights import load_weights

WEIGHTS = "model.safetensors"
CARD = "card.json"
GOLDEN = "golden.json"
ALIASES = "aliases.json"
PRODUCTION = "production"
MIN_GOLDEN_JACCARD = 0.99
"""Float arithmetic differs between machines by a few outline pixels, never by more."""


@dataclass(frozen=True)
class LoadedVersion:
    """A version that has passed its checks and is ready to predict.

    Attributes:
        card: Its card.
        sha256: Hash of `card.json`, which lists the hashes of all else: the version's identity.
        predictor: Ready to use.
    """

    card: Card
    sha256: str
    predictor: Predictor

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.card.name}@{self.card.version}"


class Registry:
    """The versions below one folder.

    Args:
        root: The folder; a reader's may be read-only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Names of all models, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if self.versions(path.name))

    def versions(self, name: str) -> list[str]:
        """Published versions of a model, oldest first; empty where there is no such model."""
        folder = self.root / name
        if not is_name(name) or not folder.is_dir():
            return []
        found = [path.parent.name for path in folder.glob(f"*/{CARD}")]
        return sorted(filter(is_version, found), key=version_order)

    def aliases(self, name: str) -> dict[str, str]:
        """Aliases of a model, such as `{"production": "1.2.0"}`.

        Raises:
            CorruptVersionError: `aliases.json` is not such an object.
        """
        path = self.root / name / ALIASES
        if not is_name(name) or not path.is_file():
            return {}
        try:
            aliases = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as exc:
            raise CorruptVersionError(f"{name}/{ALIASES} is not JSON") from exc
        if not isinstance(aliases, dict) or not all(isinstance(v, str) for v in aliases.values()):
            raise CorruptVersionError(f"{name}/{ALIASES} is not an object of alias: version")
        return aliases

    def resolve(self, name: str, reference: str) -> str:
        """The version that a version or an alias stands for.

        Raises:
            VersionNotFoundError: neither; the text lists what there is.
        """
        aliases, versions = self.aliases(name), self.versions(name)
        version = aliases.get(reference, reference)
        if version in versions:
            return version
        if reference in aliases:
            raise VersionNotFoundError(
                f"the alias {reference!r} of {name} points to {version}, which is not there"
            )
        known = ", ".join([*sorted(aliases), *versions]) or "none"
        raise VersionNotFoundError(f"{name} has no version or alias {reference!r}; it has {known}")

    def card(self, name: str, version: str) -> tuple[Card, str]:
        """A version's card, and the SHA-256 of its bytes.

        Raises:
            VersionNotFoundError: no such version.
            CorruptVersionError: the card cannot be read, or is another version's.
        """
        try:
            data = (self.root / check_name(name) / check_version(version) / CARD).read_bytes()
        except (ConfigError, OSError) as exc:
            raise VersionNotFoundError(f"{name} has no version {version!r}") from exc
        card = parse_card(data)
        if (card.name, card.version) != (name, version):
            raise CorruptVersionError(
                f"{name}/{version} holds the card of {card.name}/{card.version}"
            )
        return card, hashlib.sha256(data).hexdigest()

    def load(
        self, name: str, version: str, *, device: str = "auto", max_pixels: int = MAX_PIXELS
    ) -> LoadedVersion:
        """Verify a version's hashes, build its network, and check it on its golden image.

        Args:
            name: Model name.
            version: Version, not an alias (`resolve` first).
            device: As `PyTorchBackend`.
            max_pixels: As `Predictor`.

        Raises:
            VersionNotFoundError: no such version.
            CorruptVersionError: a hash, the weights or the golden mask do not agree.
        """
        card, sha256 = self.card(name, version)
        folder = self.root / name / version
        _verify_hashes(folder, card)
        model = UNet(card.architecture)
        load_weights(folder / WEIGHTS, model)
        backend = PyTorchBackend(model, card.preprocess, device=device)
        predictor = Predictor(backend, card.preprocess, card.postprocess)
        _check_golden(folder / GOLDEN, predictor)
        # The operator's limit is for callers' photographs; the golden image may be above it.
        predictor.max_pixels = max_pixels
        return LoadedVersion(card, sha256, predictor)

    def publish(self, card: Card, weights: Path, golden_image: bytes) -> LoadedVersion:
        """Freeze a new version, or change nothing at all.

        The golden mask is made here by the very weights that are stored, and the version is loaded
        with all its checks before it appears under its name.

        Args:
            card: The card, its `files` still empty.
            weights: File of `model_core.weights.save_weights`.
            golden_image: PNG bytes of a drawn image: no photograph of a person.

        Returns:
            The version as it was loaded from its final files.

        Raises:
            VersionExistsError: the version is there already; versions are immutable.
            CorruptVersionError: the weights do not fit the card.
        """
        folder = self.root / card.name
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder), tempfile.TemporaryDirectory(prefix=".publish-", dir=folder) as beside:
            if (folder / card.version).exists():
                raise VersionExistsError(
                    f"{card.name} {card.version} exists, and a version never changes: "
                    "publish under a new number"
                )
            staged = Registry(Path(beside))
            version = staged._write(card, weights, golden_image)
            loaded = staged.load(card.name, card.version)
            version.chmod(0o755)
            version.rename(folder / card.version)
            _sync(folder)
        return loaded

    def promote(self, name: str, version: str, *, alias: str = PRODUCTION) -> None:
        """Let an alias point to a version, in one atomic replacement.

        Raises:
            VersionNotFoundError: no such version.
            ConfigError: the alias is no name, or is a version number.
        """
        check_name(alias)
        if version not in self.versions(name):
            self.resolve(name, version)
            raise VersionNotFoundError(f"{version!r} is an alias; promote takes a version")
        folder = self.root / name
        with _locked(folder):
            aliases = self.aliases(name) | {alias: version}
            beside = folder / f".{ALIASES}.part"
            _write_synced(beside, json.dumps(aliases, indent=2, sort_keys=True).encode() + b"\n")
            beside.replace(folder / ALIASES)
            _sync(folder)

    def _write(self, card: Card, weights: Path, golden_image: bytes) -> Path:
        version = self.root / card.name / check_version(card.version)
        version.mkdir(parents=True)
        shutil.copyfile(weights, version / WEIGHTS)
        model = UNet(card.architecture)
        load_weights(version / WEIGHTS, model)
        backend = PyTorchBackend(model, card.preprocess, device="cpu")
        mask = Predictor(backend, card.preprocess, card.postprocess).predict(golden_image).mask
        _write_synced(version / GOLDEN, _dump_golden(golden_image, mask))
        hashes = {name: file_sha256(version / name) for name in (WEIGHTS, GOLDEN)}
        _write_synced(version / CARD, dump_card(replace(card, files=hashes)))
        _sync(version / WEIGHTS)
        _sync(version)
        return version


def split_reference(reference: str, default_name: str) -> tuple[str, str]:
    """Name and version (or alias) of `name@version`, or of a version or alias alone.

    Raises:
        ConfigError: either part could not be a folder's name.

    Example:
        >>> split_reference("lesion-unet@1.0.0", "x"), split_reference("production", "lesion-unet")
        (('lesion-unet', '1.0.0'), ('lesion-unet', 'production'))
    """
    name, at, version = reference.rpartition("@")
    name = name if at else default_name
    check_name(name)
    try:
        check_name(version)
    except ConfigError:
        check_version(version)
    return name, version


def _verify_hashes(folder: Path, card: Card) -> None:
    missing = {WEIGHTS, GOLDEN} - set(card.files)
    if missing:
        raise CorruptVersionError(f"card.json lists no hash of {', '.join(sorted(missing))}")
    for name, expected in card.files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
            raise CorruptVersionError(f"{card.name}/{card.version} lacks the file {name}")
        if (found := file_sha256(path)) != expected:
            raise CorruptVersionError(
                f"{card.name}/{card.version}/{name} has SHA-256 {found[:12]}…, "
                f"the card says {expected[:12]}…"
            )


def _dump_golden(image: bytes, mask: Mask) -> bytes:
    golden = {"image_png": base64.b64encode(image).decode(), "mask": encode_rle(mask)}
    return json.dumps(golden, indent=2).encode() + b"\n"


def _check_golden(path: Path, predictor: Predictor) -> None:
    try:
        golden = json.loads(path.read_bytes())
        image, rle = base64.b64decode(golden["image_png"]), golden["mask"]
        truth = decode_rle(rle, max_pixels=MAX_PIXELS)
        score = jaccard(truth, predictor.predict(image).mask)
    except (ValueError, KeyError, TypeError, InputError) as exc:
        raise CorruptVersionError(f"{GOLDEN} cannot be used: {exc}") from exc
    if score < MIN_GOLDEN_JACCARD:
        raise CorruptVersionError(
            f"the golden image's mask has Jaccard {score:.3f} with the stored one, "
            f"expected at least {MIN_GOLDEN_JACCARD}"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One publisher or promoter of a model at a time; a crash releases the lock."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
