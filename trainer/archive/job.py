"""What every worker has to know, in plain values: it travels to other machines."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model_core.backends.protocol import BackendName, Device
from model_core.errors import ConfigError
from model_core.predictor import Predictor
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig
from model_core.registry.registry import Registry
from trainer.archive.places import Place, absolute
from trainer.training.run import CONFIG

JOB = "archive.json"


@dataclass(frozen=True)
class Model:
    """Which weights, and what runs them.

    Attributes:
        reference: Path of a run folder, or a version, alias or name@version.
        registry: Folder or URL of the registry.
        name: Model name where the reference has none.
        threshold: Instead of the model's own; None keeps that.
        backend: The engine of a version; a run folder's weights run on PyTorch.
        device: Where.
    """

    reference: str
    registry: str
    name: str
    threshold: float | None = None
    backend: BackendName = "auto"
    device: Device = "auto"

    def pinned(self) -> "Model":
        """The same with an alias resolved and paths made absolute: one model for all workers."""
        from trainer.evaluation.subjects import resolve

        if self.is_run:
            return replace(self, reference=absolute(self.reference))
        registry = absolute(self.registry)
        name, version = resolve(Registry(registry), self.reference, self.name)
        return replace(self, reference=f"{name}@{version}", registry=registry)

    @property
    def is_run(self) -> bool:
        """Whether the reference is a run folder's path."""
        return (Path(self.reference) / CONFIG).is_file()

    def rules(self) -> dict[str, Any]:
        """What decides over masks, but for the engine: label, hash, preprocessing, threshold.

        Found without the engine, which a cluster's head may be unable to run.
        """
        from trainer.evaluation.subjects import resolve, run_subject

        if self.is_run:
            subject = run_subject(Path(self.reference))
            label, found = f"weights {subject.weights_sha256}", subject.predictor
            rules = _rules(label, found.preprocess_config, self._cut(found.postprocess_config))
            # A version's card has it, and its hash is in the label.
            return rules | {"calibration": found.calibration and asdict(found.calibration)}
        registry = Registry(self.registry)
        card, sha256 = registry.card(*resolve(registry, self.reference, self.name))
        label = f"{card.name}@{card.version} {sha256}"
        return _rules(label, card.preprocess, self._cut(card.postprocess))

    def open(self) -> Predictor:
        """The predictor itself, verified and checked on its golden image.

        Raises:
            ModelError: the version is not as it should be.
            ConfigError: the engine cannot run it here.
        """
        from trainer.evaluation.subjects import resolve, run_subject

        if self.is_run:
            predictor = run_subject(Path(self.reference)).predictor
        else:
            registry = Registry(self.registry)
            found = resolve(registry, self.reference, self.name)
            loaded = registry.load(*found, device=self.device, backend=self.backend)
            predictor = loaded.predictor
        predictor.postprocess_config = self._cut(predictor.postprocess_config)
        return predictor

    def _cut(self, config: PostprocessConfig) -> PostprocessConfig:
        return config if self.threshold is None else replace(config, threshold=self.threshold)


def _rules(
    model: str, preprocess: PreprocessConfig, postprocess: PostprocessConfig
) -> dict[str, Any]:
    rules = {"model": model, **asdict(preprocess), **asdict(postprocess)}
    plain: dict[str, Any] = json.loads(json.dumps(rules))  # tuples are lists when they come back
    return plain


@dataclass(frozen=True)
class Job:
    """One archive's results.

    Attributes:
        out: Absolute path or URL.
        rules: As `Model.rules`.
        forms: Some of `forms.FORMS`.
        shard_size: Photographs of a shard.
        batch: Photographs that the network gets at once; None for what pays on the engine.
    """

    out: str
    rules: dict[str, Any]
    forms: tuple[str, ...]
    shard_size: int
    batch: int | None = None


def claim(job: Job, out: Place) -> None:
    """Note whose results these are, or check that they are this job's.

    Raises:
        ConfigError: they are another model's or of other rules, forms or shards.
    """
    wanted = {**job.rules, "forms": list(job.forms), "shard_size": job.shard_size}
    try:
        stored = json.loads(out.read(JOB))
        former = stored["model"]
    except FileNotFoundError:
        out.write(JOB, (json.dumps(wanted, indent=2) + "\n").encode())
        return
    except (ValueError, LookupError, TypeError) as exc:
        raise ConfigError(f"{out.url}/{JOB} is damaged ({exc}): choose another --out") from exc
    if stored != wanted:
        raise ConfigError(
            f"{out.url} holds results of {former} (or of other rules: {stored}), not of "
            f"{wanted}: choose another --out"
        )
