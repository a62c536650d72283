"""What is evaluated: a run folder, or a version, alias or name@version of a registry."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from model_core.backends.protocol import BackendName
from model_core.backends.pytorch import PyTorchBackend
from model_core.errors import (
    ConfigError,
    DatasetError,
    GateError,
    SegmentationError,
    VersionNotFoundError,
)
from model_core.network.unet import UNet
from model_core.network.weights import load_weights
from model_core.predictor import Predictor
from model_core.processing.calibration import Calibration
from model_core.processing.postprocess import PostprocessConfig
from model_core.registry.local_store import file_sha256
from model_core.registry.registry import Registry, split_reference
from trainer.data.leaks import Fingerprint, read_trained, scorable
from trainer.data.samples import Sample
from trainer.evaluation.evaluate import held_out
from trainer.training.run import (
    CALIBRATION,
    CONFIG,
    WEIGHTS,
    load_record,
    load_run,
    read_json,
    trained_on,
)


@dataclass(frozen=True)
class EvaluationSubject:
    """Weights, and the predictor that uses them exactly as the service would."""

    predictor: Predictor
    weights_sha256: str

    def conditions(self) -> dict[str, Any]:
        """List all that its scores hold for, as JSON gives it back."""
        predictor = self.predictor
        conditions = {
            "weights_sha256": self.weights_sha256,
            "preprocess": asdict(predictor.preprocess_config),
            "postprocess": asdict(predictor.postprocess_config),
            "calibration": asdict(predictor.calibration) if predictor.calibration else None,
        }
        plain: dict[str, Any] = json.loads(json.dumps(conditions))  # lists instead of tuples
        return plain

    def require_current(self, path: Path, stored: dict[str, Any], *, again: str) -> None:
        """Require that what a file holds was made under these very conditions.

        In `stored`, `preprocess` may be missing, as that of a run cannot change; `again` is
        the command that makes the file.

        Raises:
            GateError: it was made with other weights, rules or another calibration.
        """
        for name, value in self.conditions().items():
            # Files of the first versions do not note it.
            if stored.get(name, value if name == "preprocess" else None) != value:
                raise GateError(
                    f"{path} was made with another {name}, {stored.get(name)} and not {value}: "
                    f"{again} again"
                )


@dataclass(frozen=True)
class OpenedSubject(EvaluationSubject):
    """A subject that a command's argument names.

    Attributes:
        label: A run folder's name, or `name-version`.
        home: Folder for its results.
        seen: Fingerprints of the photographs that steered it; None where it does not list them.
        trained_with: Digest of its training data.
        datasets: Those it was trained on, if not all of that data.
        accept_score: What a version's advice goes by; None for a run.
    """

    label: str
    home: Path
    seen: list[Fingerprint] | None
    trained_with: str
    datasets: tuple[str, ...] = ()
    accept_score: float | None = None

    def samples_to_score(
        self, everything: Sequence[Sample], part: str, *, skip_bad: bool
    ) -> list[Sample]:
        """Select the samples of a part that it may be scored on; raises as `leaks.scorable`."""
        samples = held_out(everything, part, datasets=self.datasets)
        return scorable(samples, self.seen or [], skip_bad=skip_bad)


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` decided for a run's weights, as `calibration.json` holds it."""

    __pydantic_config__: ClassVar = {"extra": "ignore"}  # the rest is for readers

    weights_sha256: str
    calibration: Calibration
    postprocess: PostprocessConfig


def run_subject(run: Path, *, calibrated: bool = True) -> EvaluationSubject:
    """Open a run's weights exactly as its published version would have them.

    Where `calibrated`, it follows its `calibration.json`, if there is one.

    Raises:
        DatasetError: the run has no finished epoch, or writes its weights just now.
        ConfigError: its config or calibration is damaged, or of other weights.
    """
    config = load_run(run)
    model = UNet(config.model)
    # Hashed before and after: a run that goes on meanwhile may replace the file.
    sha256 = file_sha256(run / WEIGHTS)
    load_weights(run / WEIGHTS, model)
    if file_sha256(run / WEIGHTS) != sha256:
        raise DatasetError(f"{run / WEIGHTS} changed while it was read: wait for the run to end")
    chosen = read_calibrated(run, sha256) if calibrated else None
    rules = chosen.postprocess if chosen else config.postprocess
    calibration = chosen.calibration if chosen else None
    backend = PyTorchBackend(model, config.preprocess)
    return EvaluationSubject(Predictor(backend, config.preprocess, rules, calibration), sha256)


def read_calibrated(run: Path, weights_sha256: str) -> Calibrated | None:
    """Read what was decided for these weights of a run; None where it was never calibrated.

    Raises:
        ConfigError: it was decided for other weights, or the file is damaged.
    """
    path = run / CALIBRATION
    if not path.is_file():
        return None
    try:
        stored = TypeAdapter(Calibrated).validate_python(read_json(path))
    except (ValidationError, SegmentationError) as exc:
        raise ConfigError(f"{path} is no calibration: {exc}; calibrate again") from exc
    if stored.weights_sha256 != weights_sha256:
        raise ConfigError(f"{path} is of other weights: calibrate again, or remove it")
    return stored


def open_subject(
    reference: str, registry: str, name: str, *, backend: BackendName = "pytorch-fp32"
) -> OpenedSubject:
    """Open the run or the version that a command's argument means.

    Args:
        reference: Path of a run folder, or a version, alias, or name@version.
        registry: Folder or URL of the registry.
        name: Model name where the reference has none.
        backend: The engine of a version; a run folder's weights run on PyTorch in float32.

    Raises:
        ConfigError, VersionNotFoundError: it is neither, or does not run on that engine.
        DatasetError: the run has no finished epoch, or does not know what it was trained on.
    """
    run = Path(reference)
    if (run / CONFIG).is_file():
        if backend != "pytorch-fp32":
            raise ConfigError(f"{run} is a run, which {backend} cannot open: name a version of it")
        subject, seen = run_subject(run), trained_on(run)
        return OpenedSubject(
            subject.predictor,
            subject.weights_sha256,
            run.resolve().name,
            home=run,
            seen=seen,
            trained_with=load_record(run)["data"]["sha256"],
            datasets=load_run(run).datasets,
        )
    opened = Registry(registry)
    loaded = opened.load(*resolve(opened, reference, name), backend=backend)
    card = loaded.card
    label = f"{card.name}-{card.version}"
    return OpenedSubject(
        loaded.predictor,
        card.files[WEIGHTS],
        label,
        home=Path("runs") / label,
        seen=read_trained(loaded.folder),
        trained_with=card.data.sha256,
        accept_score=card.accept_score,
    )


def resolve(registry: Registry, reference: str, default: str) -> tuple[str, str]:
    """Resolve what is no run folder to name and version; raises as `open_subject`."""
    try:
        name, version = split_reference(reference, default)
        return name, registry.resolve(name, version)
    except (ConfigError, VersionNotFoundError) as exc:
        raise type(exc)(
            f"{reference} is neither a run folder (it has no {CONFIG}) nor a version: {exc}"
        ) from exc
