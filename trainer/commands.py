"""The commands of `python -m trainer`; those on published versions are in `registry_commands`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.errors import ConfigError, DatasetError, SegmentationError
from model_core.predictor import Predictor
from model_core.registry import Registry, split_reference
from trainer import registry_commands
from trainer.config import load_config
from trainer.layouts import LAYOUTS, Listing, read_manifest
from trainer.leaks import Fingerprint, describe, find_leaks, fingerprint, require_unseen, seen_among
from trainer.run import CONFIG, WEIGHTS, load_run, trained_on
from trainer.samples import SAMPLES_CSV, Sample, count_parts, digest, read_samples, write_samples
from trainer.split import read_split, write_split
from trainer.tables import replace_text

if TYPE_CHECKING:
    from trainer.evaluate import Target

# Each command imports what it alone needs: `promote` works without the extra `train`.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 when a check found something, 2 on bad input."""
    options = _parser().parse_args(arguments)
    try:
        found: int | None = options.command(options)
    except (SegmentationError, OSError) as exc:
        print(f"trainer: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"trainer: interrupted; {options.after_interrupt}", file=sys.stderr)
        return 130
    return found or 0


def _prepare(options: argparse.Namespace) -> None:
    from trainer import datasets

    listing = _listing(options)
    split = read_split(options.split) if options.split else None
    prepared = datasets.prepare(listing, split=split, official=options.official_split)
    if options.skip_bad:
        for problem in prepared.problems:
            print(f"skipped: {problem}", file=sys.stderr)
        samples = prepared.samples
        if not samples:
            raise DatasetError("no pair can be used")
    else:
        samples = datasets.require_no_problems(prepared)
    path = write_samples(samples, options.out)
    replace_text(options.out / "skipped.txt", "".join(f"{line}\n" for line in prepared.problems))
    if options.write_split:
        rows = ((sample.id, sample.group, sample.part) for sample in samples)
        write_split(rows, options.write_split)
    for name, parts in count_parts(samples).items():
        print(f"{name}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items())))
    print(f"written to {path}" + _skipped(len(prepared.problems)))


def _skipped(count: int) -> str:
    return f"; {count} pairs skipped, listed in skipped.txt" if count else ""


def _listing(options: argparse.Namespace) -> Listing:
    source, layout = options.source, options.layout
    if layout == "drawn":
        from trainer.drawn import write_drawn

        source = options.out / "drawn"
        write_drawn(source, count=options.count, seed=options.seed)
        return read_manifest(source)
    if source is None:
        raise DatasetError(f"layout {layout} needs a SOURCE folder")
    return LAYOUTS[layout](source)


def _leaks(options: argparse.Namespace) -> int:
    first, second = _samples_of(options.first), _samples_of(options.second)
    prints = [[fingerprint(sample) for sample in samples] for samples in (first, second)]
    leaks = find_leaks(*prints)
    for leak in leaks:
        print(f"{first[leak.index].key} is {second[leak.other].key}: {leak.why}")
    print(f"{len(leaks)} of the {len(first)} images of {options.first} are in {options.second} too")
    return 1 if leaks else 0


def _samples_of(place: Path) -> list[Sample]:
    """Samples of a prepared folder, or of a manifest, checked now."""
    if (place / SAMPLES_CSV).is_file():
        return read_samples(place)
    from trainer import datasets

    return datasets.require_no_problems(datasets.prepare(read_manifest(place)))


def _train(options: argparse.Namespace) -> None:
    from trainer.loop import train

    config = load_config(options.config, data=options.data, initial=options.initial)
    train(config, options.out, resume=options.resume)
    _score(options.out, options.out, config.data, "val", config.datasets, skip_bad=False)


def _evaluate(options: argparse.Namespace) -> None:
    folder = Path(options.target)
    datasets = tuple(options.datasets.split(",")) if options.datasets else ()
    if (folder / CONFIG).is_file():
        out = options.out or folder
        datasets = datasets or load_run(folder).datasets
        _score(folder, out, options.data, options.part, datasets, skip_bad=options.skip_bad)
    else:
        _score_version(options, datasets)


def _score(
    run: Path, out: Path, data: Path, part: str, datasets: tuple[str, ...], *, skip_bad: bool
) -> None:
    from trainer.evaluate import held_out, run_target

    samples = _unseen(held_out(data, part, datasets=datasets), trained_on(run), skip_bad=skip_bad)
    _write_scores(run_target(run), samples, out, data, part)


def _score_version(options: argparse.Namespace, datasets: tuple[str, ...]) -> None:
    from trainer.evaluate import Target, held_out

    registry = Registry(options.registry)
    name, version = _resolve(registry, options.target, options.name)
    samples = held_out(options.data, options.part, datasets=datasets)
    loaded = registry.load(name, version)
    seen = registry_commands.trained_on(registry, name, version)
    if seen is not None:
        samples = _unseen(samples, seen, skip_bad=options.skip_bad)
    elif loaded.card.data.sha256 != digest(_steering(options.data, loaded.card.training)):
        print(
            f"note: {loaded.label} does not list the photographs it was trained on, and this is "
            "not its own data: whether it has seen these is not known",
            file=sys.stderr,
        )
    out = options.out or Path("runs") / f"{name}-{version}"
    target = Target(loaded.predictor, loaded.card.files[WEIGHTS])
    _write_scores(target, samples, out, options.data, options.part)


def _steering(data: Path, training: dict[str, object]) -> list[Sample]:
    """The samples that a config would train and validate on."""
    wanted = training.get("datasets") or ()
    samples = (sample for sample in read_samples(data) if sample.part != "external")
    return [s for s in samples if not wanted or s.dataset in wanted]  # type: ignore[operator]


def _unseen(samples: list[Sample], seen: Sequence[Fingerprint], *, skip_bad: bool) -> list[Sample]:
    if not skip_bad:
        require_unseen(samples, seen)
        return samples
    leaks = seen_among(samples, seen)
    for line in describe(leaks, samples):
        print(f"left out, seen in training: {line}", file=sys.stderr)
    left_out = {leak.index for leak in leaks}
    kept = [sample for index, sample in enumerate(samples) if index not in left_out]
    if not kept:
        raise DatasetError("every image to be scored was seen in training")
    return kept


def _write_scores(
    target: "Target", samples: list[Sample], out: Path, data: Path, part: str
) -> None:
    from trainer.evaluate import format_table, score, write_scores

    scored = score(target.predictor, samples, sweep=True)
    records = write_scores(scored, target, out, part=part, data=data)
    print(format_table(records))
    print(f"written to {out}: scores_{part}.json, scores_{part}.csv, triptychs_{part}.png")


def _predict(options: argparse.Namespace) -> int:
    from trainer.predict import predict_folder

    predictor, model = _predictor(options)
    if options.threshold is not None:
        predictor = _with_threshold(predictor, options.threshold)
    outcome = predict_folder(options.source, options.out, predictor, model=model)
    for name, problem in outcome.skipped:
        print(f"skipped: {name}: {problem}", file=sys.stderr)
    print(
        f"{outcome.masks} masks in {options.out}; {len(outcome.skipped)} images skipped"
        + (f", listed in {options.out / 'skipped.csv'}" if outcome.skipped else "")
    )
    return 1 if outcome.skipped else 0


def _predictor(options: argparse.Namespace) -> tuple[Predictor, str]:
    """The predictor of a run or a version, and what to call it."""
    from trainer.evaluate import run_target

    folder = Path(options.model)
    if (folder / CONFIG).is_file():
        target = run_target(folder)
        return target.predictor, f"weights {target.weights_sha256}"
    registry = Registry(options.registry)
    loaded = registry.load(*_resolve(registry, options.model, options.name))
    return loaded.predictor, f"{loaded.label} {loaded.sha256}"


def _with_threshold(predictor: Predictor, threshold: float) -> Predictor:
    from dataclasses import replace

    config = replace(predictor.postprocess_config, threshold=threshold)
    return Predictor(predictor.backend, predictor.preprocess_config, config)


def _resolve(registry: Registry, reference: str, default: str) -> tuple[str, str]:
    """Name and version of what is no run folder."""
    if "/" in reference or Path(reference).is_dir():
        raise ConfigError(f"{reference} is no run folder (it has no {CONFIG}), and no version")
    name, version = split_reference(reference, default)
    return name, registry.resolve(name, version)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**31:
        raise ValueError(text)
    return seed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="From a dataset folder to a published version, one step a command.",
    )
    parser.set_defaults(after_interrupt="nothing half-written is left")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(commands)

    leaks = commands.add_parser("leaks", help="list the images that two sets share")
    leaks.add_argument("first", type=Path, help="prepared folder or manifest")
    leaks.add_argument("second", type=Path, help="the same")
    leaks.set_defaults(command=_leaks)

    training = commands.add_parser("train", help="train a run from a TOML config")
    training.add_argument("config", type=Path)
    training.add_argument("--out", type=Path, required=True, help="run folder")
    training.add_argument("--data", type=Path, help="prepared folder (default: the config's)")
    training.add_argument("--initial", help="run folder to start the weights from")
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    training.set_defaults(command=_train, after_interrupt="the same with --resume goes on")

    evaluate = commands.add_parser("evaluate", help="score a run or a version")
    evaluate.add_argument("target", help="run folder, version, alias, or name@version")
    evaluate.add_argument("--data", type=Path, required=True, help="prepared folder")
    parts = ["train", "val", "test", "external", "all"]
    evaluate.add_argument("--part", choices=parts, default="test")
    evaluate.add_argument("--datasets", help="comma-separated (default: the run's, or all)")
    evaluate.add_argument("--out", type=Path, help="folder for the results (default: the run)")
    evaluate.add_argument(
        "--skip-bad", action="store_true", help="leave out images that were seen in training"
    )
    registry_commands.add_registry(evaluate)
    evaluate.set_defaults(command=_evaluate)

    predict = commands.add_parser("predict", help="masks of a whole folder")
    predict.add_argument("source", type=Path, help="folder of photographs")
    predict.add_argument("--out", type=Path, required=True, help="folder for the masks")
    predict.add_argument("--model", default="production", help="run folder, version or alias")
    predict.add_argument("--threshold", type=float, help="0 to 1 (default: the model's own)")
    registry_commands.add_registry(predict)
    predict.set_defaults(command=_predict, after_interrupt="the same command goes on")

    registry_commands.add_commands(commands)
    return parser


def _add_prepare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prepare = commands.add_parser("prepare", help="check a dataset folder and split it")
    prepare.add_argument("source", type=Path, nargs="?", help="dataset folder; none for drawn")
    prepare.add_argument("--layout", choices=[*LAYOUTS, "drawn"], default="manifest")
    prepare.add_argument("--out", type=Path, required=True, help="folder to write samples.csv to")
    sides = prepare.add_mutually_exclusive_group()
    sides.add_argument("--split", type=Path, help="split file to follow (default: hash of ID)")
    sides.add_argument(
        "--official-split", action="store_true", help="follow the edition's own train/val/test"
    )
    prepare.add_argument("--write-split", type=Path, help="split file to write")
    prepare.add_argument(
        "--skip-bad", action="store_true", help="list bad pairs and go on without them"
    )
    prepare.add_argument("--count", type=_count, default=200, help="drawn: lesions (200)")
    prepare.add_argument("--seed", type=_seed, default=0, help="drawn: seed of the first (0)")
    prepare.set_defaults(command=_prepare)
