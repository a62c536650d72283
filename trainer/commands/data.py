"""The commands on data: prepare and leaks."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from model_core.errors import DatasetError
from trainer.data.layouts import LAYOUTS, Listing, read_manifest
from trainer.data.leaks import find_leaks, fingerprint
from trainer.data.samples import count_parts, write_samples
from trainer.data.sources import read_sources
from trainer.data.split import read_split, write_split
from trainer.data.tables import replace_text

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands of this file to the program's."""
    prepare = commands.add_parser("prepare", help="check a dataset folder and split it")
    prepare.add_argument(
        "source", type=Path, nargs="*", help="dataset folder, or several; none for drawn"
    )
    prepare.add_argument("--layout", choices=[*LAYOUTS, "drawn"], default="manifest")
    prepare.add_argument(
        "--download",
        choices=["isic2016", "isic2017", "isic2018"],
        help="fetch this edition (1 to 14 GB) into SOURCE first (default: a folder within --out)",
    )
    prepare.add_argument(
        "--storage", help="http address of a mirror (default: the challenge's public storage)"
    )
    prepare.add_argument("--out", type=Path, required=True, help="folder to write samples.csv to")
    sides = prepare.add_mutually_exclusive_group()
    sides.add_argument("--split", type=Path, help="split file to follow, not the committed one")
    sides.add_argument(
        "--extend-split",
        type=Path,
        metavar="SPLIT",
        help="make a new split of this file: groups that it parts go whole to its test side, else "
        "to train, and what it lacks to train",
    )
    sides.add_argument(
        "--official-split", action="store_true", help="follow the edition's own train/val/test"
    )
    prepare.add_argument("--write-split", type=Path, help="split file to write")
    prepare.add_argument(
        "--skip-bad", action="store_true", help="list bad pairs and go on without them"
    )
    prepare.add_argument(
        "--no-groups",
        action="store_true",
        help="go on where nothing says which photographs show one lesion or patient; with --split, "
        "keep to the groups of that file",
    )
    prepare.add_argument("--count", type=_count, default=200, help="drawn: lesions (200)")
    prepare.add_argument("--seed", type=_seed, default=0, help="drawn: seed of the first (0)")
    prepare.set_defaults(command=_prepare, after_interrupt="the same command goes on")

    leaks = commands.add_parser("leaks", help="list the images that two sets share")
    leaks.add_argument("first", type=Path, help="prepared folder or manifest")
    leaks.add_argument("second", type=Path, help="the same")
    leaks.set_defaults(command=_leaks)


def _prepare(options: argparse.Namespace) -> None:
    from trainer.data import prepare

    followed = options.split or options.extend_split
    split = read_split(followed) if followed else None  # before hours of downloading
    listing = _listing(options)
    for line in [*listing.notes, *(listing.ungrouped if options.no_groups else [])]:
        print(f"note: {line}", file=sys.stderr)
    prepared = prepare.prepare(
        listing,
        split=split,
        official=options.official_split,
        ungrouped=options.no_groups,
        extend=options.extend_split is not None,
    )
    if options.skip_bad:
        for problem in prepared.problems:
            print(f"skipped: {problem}", file=sys.stderr)
        samples = prepared.samples
        if not samples:
            raise DatasetError("no pair can be used")
    else:
        samples = prepare.require_no_problems(prepared)
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
    sources, layout = options.source, options.layout
    if options.download:
        from trainer.data.download.isic import ISIC_STORAGE, download

        if len(sources) > 1:
            raise DatasetError(f"--download fetches into one SOURCE folder, found {len(sources)}")
        folder = sources[0] if sources else options.out / options.download
        storage = options.storage or ISIC_STORAGE
        sources, layout = [download(options.download, folder, base_url=storage)], options.download
    if layout == "drawn":
        from trainer.data.drawn import write_drawn

        source = options.out / "drawn"
        write_drawn(source, count=options.count, seed=options.seed)
        return replace(read_manifest(source), notes=[])  # each drawn lesion is one of its own
    if not sources:
        raise DatasetError(f"layout {layout} needs a SOURCE folder")
    return read_sources(sources, layout)


def _leaks(options: argparse.Namespace) -> int:
    from trainer.data.prepare import samples_of

    first, second = samples_of(options.first), samples_of(options.second)
    prints = [[fingerprint(sample) for sample in samples] for samples in (first, second)]
    leaks = find_leaks(*prints)
    for leak in leaks:
        print(f"{first[leak.index].key} is {second[leak.other].key}: {leak.why}")
    print(f"{len(leaks)} of the {len(first)} images of {options.first} are in {options.second} too")
    return 1 if leaks else 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1 on")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 0 on")
    return int(text)
