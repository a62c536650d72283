"""The commands on data: prepare and leaks."""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from model_core.errors import DatasetError
from trainer.commands.declare import at_least, command, one_of, option
from trainer.data.layouts import LAYOUTS, Listing, read_manifest, read_sources

_EXPORTS = ("coco", "label-studio", "cvat", "labelme")
"""Layouts of `trainer.data.exports.convert`, whose libraries only they need."""


@command(
    option("source", type=Path, nargs="*", help="data set or export; none for drawn"),
    option("--layout", choices=[*LAYOUTS, *_EXPORTS, "drawn"], default="manifest"),
    option("--images", type=Path, help="photographs of an export (default: beside it)"),
    option(
        "--label",
        action="append",
        default=[],
        help="what an export calls the lesion; may be repeated (default: its only label)",
    ),
    option(
        "--download",
        choices=["isic2016", "isic2017", "isic2018"],
        help="fetch this edition (1 to 14 GB) into SOURCE first (default: a folder within --out)",
    ),
    option("--storage", help="http address of a mirror (default: the challenge's public storage)"),
    option("--out", type=Path, required=True, help="folder to write samples.csv to"),
    one_of(
        option("--split", type=Path, help="split file to follow, not the committed one"),
        option(
            "--extend-split",
            type=Path,
            metavar="SPLIT",
            help="make a new split of this file: groups that it parts go whole to its test side, "
            "else to train, and what it lacks to train",
        ),
        option(
            "--official-split", action="store_true", help="follow the edition's own train/val/test"
        ),
    ),
    option("--write-split", type=Path, help="split file to write"),
    option("--skip-bad", action="store_true", help="list bad pairs and go on without them"),
    option(
        "--no-groups",
        action="store_true",
        help="go on where nothing says which photographs show one lesion or patient; with --split, "
        "keep to the groups of that file",
    ),
    option("--count", type=at_least(1), default=200, help="drawn: lesions (200)"),
    option("--seed", type=at_least(0, below=2**31), default=0, help="drawn: seed of the first (0)"),
    after_interrupt="the same command goes on",
)
def prepare(options: Namespace) -> None:
    """Check a dataset folder and split it."""
    from trainer.data.prepare import prepare, require_no_problems
    from trainer.data.samples import count_parts, write_samples
    from trainer.data.split import read_split, write_split
    from trainer.data.tables import replace_text

    followed = options.split or options.extend_split
    split = read_split(followed) if followed else None  # before hours of downloading
    listing = _listing(options)
    for line in [*listing.notes, *(listing.ungrouped if options.no_groups else [])]:
        print(f"note: {line}", file=sys.stderr)
    prepared = prepare(
        listing,
        split=split,
        official=options.official_split,
        ungrouped=options.no_groups,
        extend=options.extend_split is not None,
    )
    samples, problems = prepared.samples, prepared.problems
    if not options.skip_bad:
        require_no_problems(prepared)
    for problem in problems:
        print(f"skipped: {problem}", file=sys.stderr)
    if not samples:
        raise DatasetError("no pair can be used")
    path = write_samples(samples, options.out)
    replace_text(options.out / "skipped.txt", "".join(f"{line}\n" for line in problems))
    if options.write_split:
        write_split([(sample.id, sample.group, sample.part) for sample in samples],
                    options.write_split)  # fmt: skip
    for name, parts in count_parts(samples).items():
        print(f"{name}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items())))
    skipped = f"; {len(problems)} pairs skipped, listed in skipped.txt" if problems else ""
    print(f"written to {path}{skipped}")


def _listing(options: Namespace) -> Listing:
    """Read the pairs of the sources, downloaded or drawn first where that is asked for."""
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
    if layout in _EXPORTS:
        from trainer.data.exports.convert import read_exports

        images, labels = options.images, options.label
        return read_exports(sources, layout, out=options.out, images=images, labels=labels)
    if options.images or options.label:
        raise DatasetError(f"--images and --label are for exports ({', '.join(_EXPORTS)})")
    return read_sources(sources, layout)


@command(
    option("first", type=Path, help="prepared folder or manifest"),
    option("second", type=Path, help="the same"),
)
def leaks(options: Namespace) -> int:
    """List the images that two sets share."""
    from trainer.data.leaks import find_leaks, fingerprint
    from trainer.data.prepare import samples_of

    first, second = samples_of(options.first), samples_of(options.second)
    prints = [[fingerprint(sample) for sample in samples] for samples in (first, second)]
    found = find_leaks(*prints)
    for leak in found:
        print(f"{first[leak.index].key} is {second[leak.other].key}: {leak.why}")
    print(f"{len(found)} of the {len(first)} images of {options.first} are in {options.second} too")
    return 1 if found else 0
