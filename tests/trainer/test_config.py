from pathlib import Path

import pytest

from model_core.errors import ConfigError
from model_core.network.unet import UNet
from trainer.config import dump_config, load_config, parse_config

CONFIGS = sorted(Path("trainer/configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_survives_a_round_trip(path: Path) -> None:
    config = load_config(path)
    assert parse_config(dump_config(config), "dumped") == config


def test_the_notebook_config_is_the_notebook_to_the_letter() -> None:
    config = load_config(Path("trainer/configs/notebook.toml"))
    parameters = sum(weight.numel() for weight in UNet(config.model).parameters())
    (stage,) = config.stages
    assert parameters == 31_031_745
    assert (stage.size, stage.epochs, stage.batch) == (256, 5, 8)
    assert (config.loss, config.optim.name, config.optim.lr) == ("bce", "adam", 1e-4)
    assert (config.optim.ema, config.optim.weight_decay, config.optim.bf16) == (0, 0, False)
    assert config.postprocess.threshold == 0.5


@pytest.mark.parametrize(
    ("table", "named"),
    [
        pytest.param({"lerning_rate": 1}, "lerning_rate", id="unknown key"),
        pytest.param({"optim": {"momentum": 0.9}}, "optim.momentum", id="unknown key in a table"),
        pytest.param({"model": {"witdh": 8}}, "model.witdh", id="unknown key of the network"),
        pytest.param({"model": {"norm": "layer"}}, "norm", id="impossible choice"),
        pytest.param({"loss": "hinge"}, "bce_dice", id="unknown loss lists the known"),
        pytest.param({"stages": []}, "stages", id="no stage"),
        pytest.param({"stages": [{"size": 8}]}, "size", id="stage too small"),
        pytest.param({"optim": {"lr": -1.0}}, "lr", id="negative rate"),
        pytest.param({"optim": {"ema": 1.0}}, "ema", id="average that never moves"),
        pytest.param({"postprocess": {"threshold": 1.0}}, "threshold", id="threshold of one"),
        pytest.param({"seed": "many"}, "seed", id="text for a number"),
        pytest.param({"pretrained": True}, "EfficientNet", id="ImageNet weights of no encoder"),
        pytest.param({"shares": {"isic": 0.6, "ph2": 0.6}}, "shares", id="shares over one"),
        pytest.param(
            {"model": {"encoder": "efficientnet-lite0"}}, "strides 2 to 32", id="another depth"
        ),
    ],
)
def test_a_bad_config_is_refused_by_name(table: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_config({"data": "somewhere", **table}, "test.toml")


def test_a_config_without_data_says_so() -> None:
    with pytest.raises(ConfigError, match="data"):
        parse_config({}, "test.toml")


def test_a_missing_file_and_broken_toml_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file at"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        load_config(tmp_path / "broken.toml")


def test_the_command_line_overrides_top_level_fields(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('data = "a"\nseed = 1\n')
    config = load_config(tmp_path / "run.toml", data=Path("b"), seed=None)
    assert (config.data, config.seed) == (Path("b"), 1)
