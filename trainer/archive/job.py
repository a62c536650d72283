"""What every worker has to know, in plain values: it travels to other machines."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model_core.backends.protocol import BackendName, Device
from model_core.errors import ConfigError
from model_core.predictor import Predictor
from model_core.processing.postprocess import Margin, PostprocessConfig
from model_core.registry.registry import Registry
from trainer.archive.file_store import FileStore, absolute
from trainer.evaluation.subjects import resolve, run_subject
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
        margin: Which of the model's own thresholds it is.
        backend: The engine of a version; a run folder's weights run on PyTorch.
        device: Where.
    """

    reference: str
    registry: str
    name: str
    threshold: float | None = None
    backend: BackendName = "auto"
    device: Device = "auto"
    margin: Margin = "middle"

    def pinned(self) -> "Model":
        """Resolve an alias and make paths absolute: one model for all workers."""
        if self.is_run:
            return replace(self, reference=absolute(self.reference))
        pinned = replace(self, registry=absolute(self.registry))
        return replace(pinned, reference="@".join(pinned._version()))

    @property
    def is_run(self) -> bool:
        """Whether the reference is a run folder's path."""
        return (Path(self.reference) / CONFIG).is_file()

    def rules(self) -> dict[str, Any]:
        """List what decides over masks, but for the engine: label, hash, preprocessing, threshold.

        Found without the engine, which a cluster's head may be unable to run.
        """
        if self.is_run:
            subject = run_subject(Path(self.reference))
            label, source = f"weights {subject.weights_sha256}", subject.predictor
            preprocess, postprocess = source.preprocess_config, source.postprocess_config
            # Of a run alone: a version's card has it, and the card's hash is in the label.
            more = {"calibration": source.calibration and asdict(source.calibration)}
        else:
            card, sha256 = Registry(self.registry).card(*self._version())
            label, more = f"{card.name}@{card.version} {sha256}", {}
            preprocess, postprocess = card.preprocess, card.postprocess
        cut = {key: of for key, of in asdict(self._cut(postprocess)).items() if of is not None}
        decisive = {"model": label, **asdict(preprocess), **cut}
        plain: dict[str, Any] = json.loads(json.dumps(decisive))  # as JSON gives tuples back: lists
        return plain | more

    def open(self) -> Predictor:
        """Open the predictor, verified and checked on its golden images.

        Raises:
            ModelError: the version is not as it should be.
            ConfigError: the engine cannot run it here.
        """
        if self.is_run:
            predictor = run_subject(Path(self.reference)).predictor
        else:
            version, registry = self._version(), Registry(self.registry)
            predictor = registry.load(*version, device=self.device, backend=self.backend).predictor
        predictor.postprocess_config = self._cut(predictor.postprocess_config)
        return predictor

    def _version(self) -> tuple[str, str]:
        return resolve(Registry(self.registry), self.reference, self.name)

    def _cut(self, config: PostprocessConfig) -> PostprocessConfig:
        """Make the threshold that is asked for the only one."""
        if self.threshold is not None:
            return config.with_threshold(self.threshold)
        return config.with_threshold(config.threshold_for(self.margin))


@dataclass(frozen=True)
class Job:
    """One archive's results.

    Attributes:
        out: Absolute path or URL.
        rules: As `Model.rules`.
        formats: Some of `formats.FORMATS`.
        shard_size: Photographs of a shard.
        batch: Photographs that the network gets at once; None for what pays on the engine.
    """

    out: str
    rules: dict[str, Any]
    formats: tuple[str, ...]
    shard_size: int
    batch: int | None = None


def claim(job: Job, out: FileStore) -> None:
    """Note whose results a folder holds, or check that they are this job's.

    Raises:
        ConfigError: they are another model's or of other rules, formats or shards.
    """
    # `forms` is what it has always been called on disk: archives that were begun go on.
    wanted = {**job.rules, "forms": list(job.formats), "shard_size": job.shard_size}
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
