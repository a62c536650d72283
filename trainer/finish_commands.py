"""The commands between training and publishing: calibrate and export."""

import argparse
from pathlib import Path

from trainer.leaks import require_unseen
from trainer.run import CALIBRATION, EXPORTS, PRECISION, load_run, trained_on
from trainer.samples import read_samples

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands of this file to the program's."""
    calibrating = commands.add_parser("calibrate", help="choose what follows a run's weights")
    calibrating.add_argument("run", type=Path, help="run folder")
    calibrating.add_argument("--data", type=Path, required=True, help="prepared folder")
    calibrating.set_defaults(command=_calibrate)

    exporting = commands.add_parser("export", help="other engines' forms of a run, compared")
    exporting.add_argument("run", type=Path, help="run folder")
    exporting.add_argument("--data", type=Path, required=True, help="prepared folder")
    exporting.set_defaults(command=_export)


def _calibrate(options: argparse.Namespace) -> None:
    from trainer.calibrate import calibrate
    from trainer.evaluate import held_out, run_target

    run: Path = options.run
    target = run_target(run, calibrated=False)
    samples = held_out(read_samples(options.data), "val", datasets=load_run(run).datasets)
    require_unseen(samples, trained_on(run))
    report = calibrate(target.predictor, samples, run, weights_sha256=target.weights_sha256)
    for part in ("calibration", "postprocess", "fit"):
        print(f"{part}: " + ", ".join(f"{key} {value}" for key, value in report[part].items()))
    print(f"written to {run / CALIBRATION}")


def _export(options: argparse.Namespace) -> None:
    from trainer.export import export, format_report

    run: Path = options.run
    print(format_report(export(run, read_samples(options.data))))
    print(f"written to {run / EXPORTS} and {run / PRECISION}")
