"""The commands that let a version learn a clinic's photographs: finetune and next."""

import sys
from argparse import Namespace
from pathlib import Path

from trainer.commands.declare import REGISTRY_AND_NAME, at_least, command, option

_PUBLIC = Path("data/skin")


@command(
    option("version", help="version, alias, or name@version to begin with"),
    option("--data", type=Path, required=True, help="prepared folder, or a manifest; 10 or more"),
    option("--out", type=Path, required=True, help="run folder"),
    option(
        "--public",
        type=Path,
        default=_PUBLIC,
        help="prepared folder of the public sets, whose committed validation part tells what other "
        f"photographs lose ({_PUBLIC}, where it is there)",
    ),
    option("--resume", action="store_true", help="go on with what --out holds"),
    option("--skip-bad", action="store_true", help="leave out photographs that the version saw"),
    *REGISTRY_AND_NAME,
    after_interrupt="the same with --resume goes on",
)
def finetune(options: Namespace) -> int:
    """Fine-tune a version on your photographs: 0 better, 3 worse or cannot tell."""
    from model_core.registry.registry import Registry, split_reference
    from trainer.data.prepare import samples_of
    from trainer.data.samples import SAMPLES_CSV, read_samples
    from trainer.finetuning.finetune import committed_validation, finetune, usable_samples

    registry = Registry(options.registry)
    name, reference = split_reference(options.version, options.name)
    loaded = registry.load(name, registry.resolve(name, reference))
    everything = samples_of(options.data)
    samples, notes = usable_samples(everything, loaded, skip_bad=options.skip_bad)
    there = options.public != _PUBLIC or (options.public / SAMPLES_CSV).is_file()
    others = read_samples(options.public) if there else []
    done = finetune(
        loaded,
        samples,
        options.out,
        public=committed_validation(others, loaded, samples),
        notes=notes,
        resume=options.resume,
    )
    print(done.text)
    print(f"written to {options.out}: comparison.md, comparison.json, out_of_fold.csv")
    if done.verdict != "better":
        print(f"trainer: not shown to be better than {loaded.label}", file=sys.stderr)
        return 3
    return 0


@command(
    option("folder", help="photographs to choose from; a folder, a .csv or a URL, as for predict"),
    option("--corrected", help="photographs that are corrected already: the list keeps off them"),
    option("--count", type=at_least(1), default=50, help="length of the list (50)"),
    option("--model", default="production", help="version, alias or run folder (production)"),
    option("--out", type=Path, help="CSV file to write the list to as well"),
    *REGISTRY_AND_NAME,
)
def next_(options: Namespace) -> int:
    """List which photographs to correct first."""
    from trainer.archive.sources import list_photographs
    from trainer.data.tables import write_table
    from trainer.evaluation.subjects import open_subject
    from trainer.finetuning.order import choose_next, look_at

    predictor = open_subject(options.model, options.registry, options.name).predictor
    done, unread = (
        look_at(predictor, list_photographs(options.corrected)) if options.corrected else ([], [])
    )
    looked, bad = look_at(predictor, list_photographs(options.folder))
    for name, problem in (*unread, *bad):
        print(f"skipped: {name}: {problem}", file=sys.stderr)
    listed = choose_next(looked, options.count, corrected=done)
    rows = [(str(place), entry.name, f"{entry.score:.3f}", f"{entry.spread:.3f}")
            for place, entry in enumerate(listed, 1)]  # fmt: skip
    for place, name, score, _ in rows:
        print(f"{place:>4}  {score}  {name}")
    if options.out:
        columns = ("place", "image", "predicted_jaccard", "spread")
        write_table(options.out, columns, rows)
    return 1 if unread or bad else 0
