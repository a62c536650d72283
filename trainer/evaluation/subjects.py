"""What a command is pointed at: a run folder, or a version, alias or name@version of a registry."""

from dataclasses import dataclass
from pathlib import Path

from model_core.backends.protocol import Choice
from model_core.errors import ConfigError, VersionNotFoundError
from model_core.registry.registry import Registry, split_reference
from trainer.commands.registry import seen_by
from trainer.data.leaks import Fingerprint
from trainer.evaluation.evaluate import Target, run_target
from trainer.training.run import CONFIG, WEIGHTS, load_record, load_run, trained_on


@dataclass(frozen=True)
class Opened:
    """A run or a version, ready to be scored.

    Attributes:
        target: Its predictor.
        label: A run folder's name, or `name-version`.
        home: Folder for its results.
        seen: Fingerprints of the photographs that steered it; None where it does not list them.
        trained_with: Digest of its training data.
        datasets: Those it was trained on, if not all of that data.
        accept_score: What a version's advice goes by; None for a run.
    """

    target: Target
    label: str
    home: Path
    seen: list[Fingerprint] | None
    trained_with: str
    datasets: tuple[str, ...] = ()
    accept_score: float | None = None


def open_target(
    reference: str, registry: str, name: str, *, backend: Choice = "pytorch-fp32"
) -> Opened:
    """The run or the version that a command's argument means.

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
        target, config = run_target(run), load_run(run)
        data: str = load_record(run)["data"]["sha256"]
        return Opened(target, run.resolve().name, run, trained_on(run), data, config.datasets)
    found = Registry(registry)
    loaded = found.load(*resolve(found, reference, name), backend=backend)
    card = loaded.card
    label = f"{card.name}-{card.version}"
    return Opened(
        Target(loaded.predictor, card.files[WEIGHTS]),
        label,
        Path("runs") / label,
        seen_by(loaded),
        card.data.sha256,
        accept_score=card.accept_score,
    )


def resolve(registry: Registry, reference: str, default: str) -> tuple[str, str]:
    """Name and version of what is no run folder; raises as `open_target`."""
    try:
        name, version = split_reference(reference, default)
        return name, registry.resolve(name, version)
    except (ConfigError, VersionNotFoundError) as exc:
        raise type(exc)(
            f"{reference} is neither a run folder (it has no {CONFIG}) nor a version: {exc}"
        ) from exc
