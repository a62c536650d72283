"""Writers are killed at every step, and race each other: readers find the old state or the new."""

import itertools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import s3fs  # type: ignore[import-untyped]

from model_core.errors import VersionExistsError
from model_core.registry.registry import LoadedVersion, Registry
from tests.fixtures.models import NAME
from tests.fixtures.registry_writer import Writer, do

Open = Callable[[str], Registry]
State = tuple[list[str], dict[str, str], list[str]]

OLD: State = (["1.0.0", "1.1.0"], {"production": "1.1.0"}, ["1.0.0"])
JOBS: dict[str, tuple[dict[str, Any], State]] = {
    "publish": (
        {"do": "publish", "version": "1.2.0"},
        (["1.0.0", "1.1.0", "1.2.0"], {"production": "1.1.0"}, ["1.0.0"]),
    ),
    "promote": (
        {"do": "promote", "version": "1.0.0"},
        (["1.0.0", "1.1.0"], {"production": "1.0.0"}, ["1.0.0", "1.1.0"]),
    ),
    "rollback": ({"do": "rollback"}, (["1.0.0", "1.1.0"], {"production": "1.0.0"}, [])),
}
SYSTEM_CALLS = [
    "?open,?openat,?openat2", "write", "fsync", "?rename,?renameat,?renameat2",
    "?mkdir,?mkdirat", "?unlink,?unlinkat,?rmdir", "flock", "?sendfile,?copy_file_range",
]  # fmt: skip
LEFT_BEHIND = "a publisher is at work or was killed"


def state(registry: Registry) -> State:
    return registry.versions(NAME), registry.aliases(NAME), registry.history(NAME)


def fill(registry: Registry, weights: Path) -> None:
    """Versions 1.0.0 and 1.1.0, each promoted to production."""
    for version in OLD[0]:
        do(registry, {"do": "publish", "version": version, "weights": str(weights)})
        do(registry, {"do": "promote", "version": version})


def copy(place: str, to: str) -> str:
    if "://" in place:
        s3fs.S3FileSystem().copy(place, to, recursive=True)
    else:
        shutil.copytree(place, to)
    return to


@pytest.mark.parametrize(
    "every",
    [
        pytest.param({"folder": 97, "s3": 23}, id="some steps"),
        pytest.param({"folder": 7, "s3": 3}, id="many steps", marks=pytest.mark.slow),
        pytest.param({"folder": 1, "s3": 1}, id="all steps", marks=pytest.mark.foreign),
    ],
)
@pytest.mark.parametrize("name", JOBS)
def test_whenever_a_writer_is_killed_the_state_is_the_old_or_the_new(
    shared_place: str,
    name: str,
    every: dict[str, int],
    open_registry: Open,
    weights: Path,
    writer: Writer,
) -> None:
    stride = every["s3" if "://" in shared_place else "folder"]
    fill(open_registry(shared_place), weights)
    kills = ({"kill_at": step} for step in itertools.count(1, stride))
    seen = kill_until_done(shared_place, name, kills, open_registry, weights, writer)
    # Every step before the one that counts leaves the old state, every one after it the new.
    assert seen == sorted(seen, key=[OLD, JOBS[name][1]].index)
    assert seen[0] == OLD
    assert seen[-1] == JOBS[name][1] or stride > 1


@pytest.mark.foreign
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("calls", SYSTEM_CALLS)
@pytest.mark.parametrize("name", JOBS)
def test_whichever_system_call_a_writer_is_killed_at_the_state_is_the_old_or_the_new(
    tmp_path: Path, name: str, calls: str, open_registry: Open, weights: Path, writer: Writer
) -> None:
    place = str(tmp_path / "models")
    fill(open_registry(place), weights)
    kills = ({"kill_at_call": f"{calls}:signal=SIGKILL:when={n}"} for n in itertools.count(1))
    seen = kill_until_done(place, name, kills, open_registry, weights, writer)
    if "rename" in calls:  # the one step that counts
        assert seen == [OLD]


def kill_until_done(
    place: str,
    name: str,
    kills: Iterable[dict[str, Any]],
    open_registry: Open,
    weights: Path,
    writer: Writer,
) -> list[State]:
    """Do a job on copies of a registry, killed in one way after the other until it survives.

    Returns:
        The states that those who were killed left; each was completed by somebody else.
    """
    job, new = JOBS[name]
    job = job | {"weights": str(weights), "cache": str(weights.parent / "writers_cache")}
    seen = []
    for number, kill in enumerate(kills):
        registry = open_registry(copy(place, f"{place}-{number}"))
        writer.start(job | kill | {"root": f"{place}-{number}"})
        [answer] = writer.answers()
        found = state(registry)
        assert found in (OLD, new), kill
        assert [fault for fault in registry.faults() if LEFT_BEHIND not in fault] == []
        if answer == "done":
            assert found == new
            break
        assert answer == "killed"
        seen.append(found)
        if found == OLD:
            do(registry, job)
        elif name == "publish":
            with pytest.raises(VersionExistsError):
                do(registry, job)
        assert state(registry) == new
        assert list(registry.faults()) == []
    return seen


def test_of_two_publishers_at_once_one_wins_and_the_other_says_so(
    shared_place: str, open_registry: Open, weights: Path, writer: Writer, tmp_path: Path
) -> None:
    job = {"do": "publish", "weights": str(weights), "root": shared_place, "cache": str(tmp_path)}
    registry = open_registry(shared_place)
    for version in ("1.0.0", "1.0.1"):
        licences = ["one", "another", "a third"]
        writer.start(*(job | {"version": version, "licence": licence} for licence in licences))
        answers = writer.answers()
        assert sorted(answers) == ["VersionExistsError", "VersionExistsError", "done"]
        winner = licences[answers.index("done")]
        assert registry.verify(NAME, version).card.licence == winner
    assert list(registry.faults()) == []


def test_of_promotions_at_once_none_is_lost(
    shared_place: str, open_registry: Open, weights: Path, writer: Writer, tmp_path: Path
) -> None:
    registry = open_registry(shared_place)
    fill(registry, weights)
    job = {"do": "promote", "root": shared_place, "cache": str(tmp_path)}
    aliases = ["canary", "shadow", "nightly", "previous"]
    writer.start(*(job | {"version": "1.0.0", "alias": alias} for alias in aliases))
    assert writer.answers() == ["done"] * 4
    assert registry.aliases(NAME) == dict.fromkeys(aliases, "1.0.0") | OLD[1]


def test_two_rollbacks_at_once_end_at_one_state_that_was(
    shared_place: str, open_registry: Open, weights: Path, writer: Writer, tmp_path: Path
) -> None:
    registry = open_registry(shared_place)
    fill(registry, weights)
    job = {"do": "rollback", "root": shared_place, "cache": str(tmp_path)}
    writer.start(job, job)
    assert "done" in writer.answers()
    assert state(registry) == JOBS["rollback"][1]


def test_readers_see_whole_versions_only_while_others_write(
    shared_place: str, open_registry: Open, weights: Path, writer: Writer, tmp_path: Path
) -> None:
    fill(open_registry(shared_place), weights)
    common = {"weights": str(weights), "root": shared_place, "cache": str(tmp_path)}
    jobs = [JOBS["publish"][0], JOBS["promote"][0], {"do": "promote", "version": "1.1.0"}]
    for job in jobs:
        writer.start(
            job | common, {"do": "promote", "version": "1.0.0", "alias": "canary"} | common
        )
        loads: list[LoadedVersion] = []
        for _ in range(3):
            registry = open_registry(shared_place)
            for version in registry.versions(NAME):
                loads.append(registry.load(NAME, version, device="cpu"))
            assert registry.resolve(NAME, "production") in ("1.0.0", "1.1.0")
        assert {loaded.card.version for loaded in loads} <= {"1.0.0", "1.1.0", "1.2.0"}
        assert writer.answers() == ["done", "done"]
