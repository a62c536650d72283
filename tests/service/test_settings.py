import re

import pytest

from model_core.errors import ConfigError
from service.settings import load_settings, unknown_variables


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.model_name) == (
        "127.0.0.1",
        8000,
        "lesion-unet",
    )


def test_a_variable_sets_its_field_and_an_empty_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LESION_PORT", "9000")
    monkeypatch.setenv("LESION_MAX_QUEUE", "")
    settings = load_settings()
    assert (settings.port, settings.max_queue) == (9000, 64)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("LESION_PORT", "http", "valid integer", id="not a number"),
        pytest.param("LESION_PORT", "70000", "less than or equal to 65535", id="too high"),
        pytest.param("LESION_MAX_QUEUE", "0", "greater than or equal to 1", id="too low"),
        pytest.param("LESION_DEVICE", "tpu", "'auto', 'cpu' or 'cuda'", id="not on the list"),
        pytest.param("LESION_LOG_LEVEL", "info", "'INFO'", id="wrong case"),
        pytest.param("LESION_MODEL_NAME", "../etc", "match pattern", id="climbing name"),
        pytest.param(
            "LESION_MAX_IMAGE_PIXELS", "90000000", "equal to 89000000", id="past Pillow's guard"
        ),
    ],
)
def test_a_bad_value_is_one_line_that_names_variable_value_and_range(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name} is '{re.escape(value)}': .*{expected}") as info:
        load_settings()
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_other_machines_are_let_in_only_on_purpose(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("LESION_HOST", host)
    with pytest.raises(ConfigError, match="set LESION_ALLOW_ANONYMOUS=1"):
        load_settings()
    monkeypatch.setenv("LESION_ALLOW_ANONYMOUS", "1")
    assert load_settings().host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_permission(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("LESION_HOST", host)
    assert load_settings().host == host


def test_a_misspelt_setting_is_refused_with_the_right_spelling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LESION_MAX_PIXELS", "1000")
    with pytest.raises(ConfigError, match="did you mean LESION_MAX_IMAGE_PIXELS"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "harmless", "value", "instead"),
    [
        ("LESION_WORKERS", "1", "4", "start replicas"),
        ("LESION_MAX_CONNECTIONS_PER_ADDRESS", "0", "64", "the proxy's own limit"),
    ],
)
def test_a_setting_that_is_gone_is_refused_with_what_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, name: str, harmless: str, value: str, instead: str
) -> None:
    monkeypatch.setenv(name, harmless)  # asks for what there is
    load_settings()
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name} is '{value}', .*{instead}"):
        load_settings()


@pytest.mark.parametrize(
    "name", ["LESION_UNET_SERVICE_HOST", "LESION_UNET_PORT", "LESION_TEST_DATA"]
)
def test_a_variable_that_only_shares_the_prefix_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8000")
    load_settings()
    assert name in unknown_variables()
