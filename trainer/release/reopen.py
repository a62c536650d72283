"""Make a run folder of a published version again, so that what follows training can be repeated.

    python -m trainer reopen 1.2.0 --out runs/again

Its weights and config are the version's own; calibration, scores and exports are to be made again,
and `publish` gives them a version of their own: nothing within a version ever changes.
"""

import shutil
from pathlib import Path

from model_core.backends.select import INT8_FILE
from model_core.errors import ConfigError
from model_core.registry.registry import LoadedVersion
from trainer.config import dump_config, parse_config
from trainer.data.leaks import TRAINED_CSV
from trainer.release.lineage import parents_of_version
from trainer.release.reproduce import OF_THE_RUN
from trainer.training.run import CONFIG, EXPORTS, RUN, WEIGHTS, write_json


def reopen(loaded: LoadedVersion, run: Path, data: Path) -> None:
    """Write a version's weights, config and record as a run folder.

    Args:
        loaded: The version.
        run: The folder, which must not exist.
        data: Prepared folder that the config names from now on.

    Raises:
        ConfigError: the folder exists, or the version does not list what it was trained on.
    """
    card = loaded.card
    if run.exists():
        raise ConfigError(f"{run} exists already: choose another --out")
    if TRAINED_CSV not in card.files:
        raise ConfigError(
            f"{loaded.label} does not list the photographs it was trained on, so that no score of "
            "it could be told from a leak"
        )
    table = {key: value for key, value in card.training.items() if key not in OF_THE_RUN}
    config = parse_config({**table, "data": str(data)}, loaded.label)
    initial = card.training.get("initial")
    if initial and card.lineage:
        initial = initial | {"versions": parents_of_version(card)}
    record = {
        "data": {"sha256": card.data.sha256, "samples": card.data.samples},
        "initial": initial,
        "teachers": card.training.get("teachers", []),
        "starts": card.training.get("starts", []),
    }
    run.mkdir(parents=True)
    for name in (WEIGHTS, TRAINED_CSV):
        shutil.copyfile(loaded.folder / name, run / name)
    # Networks of the same weights: `export --measure-only` scores them under another calibration.
    if card.overflow_safe:
        for name in card.files:
            if name.startswith(str(Path(INT8_FILE).parent)):
                (run / EXPORTS / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(loaded.folder / name, run / EXPORTS / name)
    write_json(run / RUN, record)
    write_json(run / CONFIG, dump_config(config))  # last: where it is, the run is whole
