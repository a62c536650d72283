"""What a command is pointed at: a run folder, or a version, alias or name@version of a registry."""

from dataclasses import dataclass
from pathlib import Path

from model_core.errors import ConfigError, VersionNotFoundError
from model_core.registry import Registry, split_reference
from trainer.evaluate import Target, run_target
from trainer.leaks import Fingerprint
from trainer.registry_commands import seen_by
from trainer.run import CONFIG, WEIGHTS, load_record, load_run, trained_on


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
    """

    target: Target
    label: str
    home: Path
    seen: list[Fingerprint] | None
    trained_with: str
    datasets: tuple[str, ...] = ()


def open_target(reference: str, registry: str, name: str) -> Opened:
    """The run or the version that a command's argument means.

    Args:
        reference: Path of a run folder, or a version, alias, or name@version.
        registry: Folder or URL of the registry.
        name: Model name where the reference has none.

    Raises:
        ConfigError, VersionNotFoundError: it is neither.
        DatasetError: the run has no finished epoch, or does not know what it was trained on.
    """
    run = Path(reference)
    if (run / CONFIG).is_file():
        target, config = run_target(run), load_run(run)
        data: str = load_record(run)["data"]["sha256"]
        return Opened(target, run.resolve().name, run, trained_on(run), data, config.datasets)
    loaded = (found := Registry(registry)).load(*resolve(found, reference, name))
    label = f"{loaded.card.name}-{loaded.card.version}"
    target = Target(loaded.predictor, loaded.card.files[WEIGHTS])
    return Opened(target, label, Path("runs") / label, seen_by(loaded), loaded.card.data.sha256)


def resolve(registry: Registry, reference: str, default: str) -> tuple[str, str]:
    """Name and version of what is no run folder; raises as `open_target`."""
    try:
        name, version = split_reference(reference, default)
        return name, registry.resolve(name, version)
    except (ConfigError, VersionNotFoundError) as exc:
        raise type(exc)(
            f"{reference} is neither a run folder (it has no {CONFIG}) nor a version: {exc}"
        ) from exc
