import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model_core.errors import ConfigError
from service.access import keys
from service.access.keys import ApiKey, KeyRing, new_key, read_keys
from service.keys import main

GOOD = {"id": "tool-a", "sha256": "0" * 64, "scopes": ["segment"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def _always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LOOK_S", 0.0)


def write(path: Path, *entries: ApiKey | dict[str, Any]) -> None:
    """Replace the file as an editor would, so that no look finds half of it."""
    listed = [e.model_dump(mode="json") if isinstance(e, ApiKey) else e for e in entries]
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"keys": listed}))
    beside.replace(path)


def made(name: str) -> tuple[str, ApiKey]:
    return new_key(name, frozenset({"segment"}))


def test_a_key_of_the_file_is_found_and_no_other(path: Path) -> None:
    (first, entry), (second, other) = made("a"), made("b")
    write(path, entry, other)
    ring = KeyRing(path)
    assert ring.find(first) == entry
    assert ring.find(second) == other
    stranger, _ = made("a")
    for unknown in (stranger, entry.sha256, "", first[:-1], first + "a", first.upper(), "ä"):
        assert ring.find(unknown) is None


def test_the_file_holds_no_key(path: Path) -> None:
    key, entry = made("a")
    write(path, entry)
    assert key not in path.read_text()
    assert key not in repr(entry)


@pytest.mark.usefixtures("_always_looks")
def test_keys_are_added_and_revoked_without_a_restart(path: Path) -> None:
    (old, old_entry), (new, new_entry) = made("tool-2025"), made("tool-2026")
    write(path, old_entry)
    ring = KeyRing(path)
    assert ring.find(new) is None
    write(path, old_entry, new_entry)
    assert ring.find(old) == old_entry
    assert ring.find(new) == new_entry
    write(path, new_entry)
    assert ring.find(old) is None
    assert ring.find(new) == new_entry


@pytest.mark.usefixtures("_always_looks")
@pytest.mark.parametrize("spoil", ["delete", "truncate", "empty list"])
def test_a_file_that_is_spoilt_changes_nothing_and_the_log_says_so_once(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    key, entry = made("a")
    write(path, entry)
    ring = KeyRing(path)
    if spoil == "delete":
        path.unlink()
    elif spoil == "truncate":
        path.write_text(path.read_text()[:40])
    else:
        write(path)
    assert ring.find(key) == entry
    assert ring.find(key) == entry
    assert not ring.intact
    (record,) = caplog.records
    assert "the former ones stay" in record.getMessage()
    write(path, entry)
    os.utime(path, ns=(1, 1))
    assert ring.find(key) == entry
    assert ring.intact


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("", "the file: ", id="empty"),
        pytest.param("[]", "the file: ", id="a list"),
        pytest.param('{"keys": []}', "keys: ", id="no keys"),
        pytest.param({**GOOD, "id": "a b"}, "keys.0.id: ", id="an ID with a space"),
        pytest.param({**GOOD, "sha256": "secret"}, "keys.0.sha256: ", id="the key itself"),
        pytest.param({**GOOD, "scopes": []}, "keys.0.scopes: ", id="no scope"),
        pytest.param({**GOOD, "scopes": ["admin"]}, "keys.0.scopes.0: ", id="unknown scope"),
        pytest.param({**GOOD, "expires": "2027-01-01"}, "keys.0.expires: ", id="no time zone"),
        pytest.param({**GOOD, "owner": "x"}, "keys.0.owner: ", id="unknown field"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place_and_not_its_content(
    path: Path, content: str | dict[str, Any], expected: str
) -> None:
    if isinstance(content, dict):
        write(path, content)
    else:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"{path} cannot be used: {expected}") as info:
        read_keys(path)
    assert "secret" not in str(info.value)


@pytest.mark.parametrize("field", ["id", "sha256"])
def test_two_keys_differ_in_id_and_hash(path: Path, field: str) -> None:
    other = {**GOOD, "id": "tool-b", "sha256": "1" * 64}
    write(path, GOOD, {**other, field: GOOD[field]})
    with pytest.raises(ConfigError, match=f"two keys have the same {field}"):
        read_keys(path)


def test_a_file_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_keys(path)


def test_the_command_makes_a_key_whose_entry_works(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "--id", "tool-a", "--scopes", "segment,models:read", "--days", "30"]) == 0
    shown, _, entry = capsys.readouterr().out.splitlines()
    write(path, json.loads(entry))
    found = KeyRing(path).find(shown.rpartition(" ")[2])
    assert found is not None
    assert (found.id, sorted(found.scopes)) == ("tool-a", ["models:read", "segment"])
    assert found.expires is not None
    assert 29 <= (found.expires - datetime.now(UTC)).days <= 30
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out.startswith("tool-a: models:read, segment; until 20")


@pytest.mark.parametrize("arguments", [["--id", "a b", "--scopes", "segment"],
                                       ["--id", "a", "--scopes", "all"]])  # fmt: skip
def test_the_command_refuses_what_the_file_could_not_hold(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["new", *arguments]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err
