"""Fill one version's folder, and open it as a predictor that has been checked."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_core.backends.protocol import BackendName, Device, Engine
from model_core.backends.select import WEIGHTS, open_backend, rank_engines
from model_core.card import Card, dump_card, parse_card
from model_core.errors import ConfigError, CorruptVersionError, GateError
from model_core.predictor import Predictor
from model_core.registry.golden import FILE as GOLDEN
from model_core.registry.golden import check_golden, dump_golden
from model_core.registry.local_store import CARD, file_sha256
from model_core.registry.signatures import FILE as SIGNATURE


@dataclass(frozen=True)
class LoadedVersion:
    """A version that has passed its checks and is ready to predict.

    Attributes:
        card: Its card.
        sha256: Hash of `card.json`, which lists the hashes of all else: the version's identity.
        predictor: Ready to use.
        folder: Folder of this machine with its files.
        passed_over: Why each faster engine does not run it, where the engine was chosen by `auto`.
        signer: File name of the trusted key that signed it; None where no signature was checked.
    """

    card: Card
    sha256: str
    predictor: Predictor
    folder: Path
    passed_over: Mapping[str, str] = field(default_factory=dict)
    signer: str | None = None

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.card.name}@{self.card.version}"


def open_version(
    folder: Path, card: Card, sha256: str, *, device: Device, backend: BackendName
) -> LoadedVersion:
    """Build a version's network and check it on its golden images.

    With `auto`, an engine that fails this check on this processor is passed over for the next.

    Args:
        folder: Its files, whose hashes were verified.
        card: Its card.
        sha256: Hash of the card's bytes.
        device: As `open_backend`.
        backend: An engine by name, or `auto` for the fastest that passes.

    Raises:
        CorruptVersionError: the weights or the golden mask do not agree.
        ConfigError: the backend cannot run this version here.
    """
    engines = rank_engines(card, device=device) if backend == "auto" else [(backend, "")]
    passed_over: dict[str, str] = {}
    for engine, reason in engines:
        if not reason:
            try:
                predictor = _predictor(folder, card, engine, device)
                check_golden(folder / GOLDEN, predictor)
                return LoadedVersion(card, sha256, predictor, folder, passed_over)
            except CorruptVersionError as exc:
                reason = str(exc)
        passed_over[engine] = reason
    # What even float32, the last of them, fails at, is wrong with the version itself.
    raise CorruptVersionError(reason)


def fill_version(
    folder: Path,
    card: Card,
    weights: Path,
    golden_images: Sequence[bytes],
    *,
    exports: Path | None,
    weights_sha256: str | None,
) -> LoadedVersion:
    """Write a version's files into an empty folder, and open it; arguments as `Registry.publish`.

    Raises:
        CorruptVersionError: the weights do not fit the card.
        GateError: the weights are not those that were scored.
        ConfigError: an export has the name of a file of ours.
    """
    if exports is not None:
        _copy_exports(exports, folder)
    shutil.copyfile(weights, folder / WEIGHTS)
    # Of the copy: the original may change under our hands.
    sha256 = file_sha256(folder / WEIGHTS)
    if weights_sha256 not in (None, sha256):
        raise GateError(
            f"{weights} has SHA-256 {sha256[:12]}…, the weights that were scored had "
            f"{weights_sha256:.12}…; evaluate again"
        )
    reference = _predictor(folder, card, "pytorch-fp32", "cpu")
    golden = [(image, reference.predict(image).mask) for image in golden_images]
    (folder / GOLDEN).write_bytes(dump_golden(golden))
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    data = dump_card(replace(card, files=hashes))
    (folder / CARD).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return open_version(folder, parse_card(data), sha256, device="auto", backend="pytorch-fp32")


def _predictor(folder: Path, card: Card, engine: Engine, device: Device) -> Predictor:
    backend = open_backend(card, folder, engine, device=device)
    return Predictor(backend, card.preprocess, card.postprocess, card.calibration)


def _copy_exports(exports: Path, folder: Path) -> None:
    ours = {CARD, GOLDEN, SIGNATURE, WEIGHTS} & {entry.name for entry in exports.iterdir()}
    if ours:
        raise ConfigError(f"{exports} holds {', '.join(sorted(ours))}, which publishing writes")
    for path in sorted(exports.rglob("*")):
        if path.is_file():
            copy = folder / path.relative_to(exports)
            # Not copied with its permissions: a private folder's would lock readers out.
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
