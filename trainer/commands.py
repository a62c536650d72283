"""The commands of `python -m trainer`: prepare, train, evaluate, publish, promote."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_core.errors import DatasetError, SegmentationError
from model_core.predictor import Predictor
from model_core.registry import WEIGHTS as VERSION_WEIGHTS
from model_core.registry import Registry, split_reference
from trainer import datasets
from trainer.config import load_config
from trainer.drawn import write_drawn
from trainer.evaluate import format_table, held_out, run_predictor, score, write_scores
from trainer.loop import CONFIG, WEIGHTS, train
from trainer.publish import publish
from trainer.split import read_split, write_split

REGISTRY = Path("models")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 2 when the input or the registry forbids it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (SegmentationError, OSError) as exc:
        print(f"trainer: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trainer: interrupted; `train --resume` goes on", file=sys.stderr)
        return 130
    return 0


def _prepare(options: argparse.Namespace) -> None:
    source, layout = options.source, options.layout
    if layout == "drawn":
        source = options.out / "drawn"
        write_drawn(source, count=options.count, seed=options.seed)
        layout = "manifest"
    elif source is None:
        raise DatasetError(f"layout {layout} needs a SOURCE folder")
    split = read_split(options.split) if options.split else None
    samples = datasets.prepare(datasets.LAYOUTS[layout](source), split=split)
    datasets.write_samples(samples, options.out)
    if options.write_split:
        rows = ((sample.id, sample.group, sample.part) for sample in samples)
        write_split(rows, options.write_split)
    for name, parts in datasets.count_parts(samples).items():
        print(f"{name}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items())))


def _train(options: argparse.Namespace) -> None:
    config = load_config(options.config, data=options.data, initial=options.initial)
    train(config, options.out, resume=options.resume)
    predictor, _ = run_predictor(options.out)
    _score(predictor, options.out / WEIGHTS, options.out, data=config.data, part="val")


def _evaluate(options: argparse.Namespace) -> None:
    predictor, weights, out = _target(options)
    _score(predictor, weights, out, data=options.data, part=options.part)


def _score(predictor: Predictor, weights: Path, out: Path, *, data: Path, part: str) -> None:
    scored = score(predictor, held_out(data, part))
    records = write_scores(scored, predictor, out, part=part, data=data, weights=weights)
    print(format_table(records))
    print(f"written to {out}: scores_{part}.json, scores_{part}.csv, triptychs_{part}.png")


def _target(options: argparse.Namespace) -> tuple[Predictor, Path, Path]:
    """Predictor, weights and output folder of a run folder or a published version."""
    folder = Path(options.target)
    if (folder / CONFIG).is_file():
        return run_predictor(folder)[0], folder / WEIGHTS, options.out or folder
    registry = Registry(options.registry)
    name, reference = split_reference(options.target, options.name)
    version = registry.resolve(name, reference)
    out = options.out or Path("runs") / f"{name}-{version}"
    weights = registry.root / name / version / VERSION_WEIGHTS
    return registry.load(name, version).predictor, weights, out


def _publish(options: argparse.Namespace) -> None:
    registry = Registry(options.registry)
    loaded = publish(options.run, registry, version=options.version, licence=options.licence)
    print(f"published {loaded.label}, card SHA-256 {loaded.sha256}")
    if options.alias:
        _point(registry, loaded.card.name, options.alias, loaded.card.version)


def _promote(options: argparse.Namespace) -> None:
    _point(Registry(options.registry), options.name, options.alias, options.version)


def _point(registry: Registry, name: str, alias: str, version: str) -> None:
    registry.promote(name, version, alias=alias)
    print(f"{name}: {alias} is now {version}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="From a dataset folder to a published version, one step a command.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    prepare = commands.add_parser("prepare", help="check a dataset folder and split it")
    prepare.add_argument("source", type=Path, nargs="?", help="dataset folder; none for drawn")
    prepare.add_argument("--layout", choices=[*datasets.LAYOUTS, "drawn"], default="manifest")
    prepare.add_argument("--out", type=Path, required=True, help="folder to write samples.csv to")
    prepare.add_argument("--split", type=Path, help="split file to follow (default: hash of ID)")
    prepare.add_argument("--write-split", type=Path, help="split file to write")
    prepare.add_argument("--count", type=int, default=200, help="drawn: lesions (200)")
    prepare.add_argument("--seed", type=int, default=0, help="drawn: seed of the first lesion (0)")
    prepare.set_defaults(command=_prepare)

    training = commands.add_parser("train", help="train a run from a TOML config")
    training.add_argument("config", type=Path)
    training.add_argument("--out", type=Path, required=True, help="run folder")
    training.add_argument("--data", type=Path, help="prepared folder (default: the config's)")
    training.add_argument("--initial", help="run folder to start the weights from")
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    training.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="score a run or a version")
    evaluate.add_argument("target", help="run folder, version, alias, or name@version")
    evaluate.add_argument("--data", type=Path, required=True, help="prepared folder")
    evaluate.add_argument("--part", choices=["val", "test"], default="test")
    evaluate.add_argument("--out", type=Path, help="folder for the results (default: the run)")
    _add_registry(evaluate)
    evaluate.set_defaults(command=_evaluate)

    publishing = commands.add_parser("publish", help="freeze a scored run as a version")
    publishing.add_argument("run", type=Path)
    publishing.add_argument("--version", required=True, help="semantic version, such as 0.1.0")
    publishing.add_argument(
        "--licence", required=True, help="terms of the weights, which follow from the data's"
    )
    publishing.add_argument("--alias", help="let this alias point to it at once")
    publishing.add_argument("--registry", type=Path, default=REGISTRY, help="folder (models)")
    publishing.set_defaults(command=_publish)

    promoting = commands.add_parser("promote", help="let an alias point to a version")
    promoting.add_argument("version")
    promoting.add_argument("--alias", default="production")
    _add_registry(promoting)
    promoting.set_defaults(command=_promote)
    return parser


def _add_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", type=Path, default=REGISTRY, help="registry folder (models)")
    parser.add_argument("--name", default="lesion-unet", help="model name (lesion-unet)")
