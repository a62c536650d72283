import sqlite3
from pathlib import Path

import pytest

from service.client.pacs.state import Found, State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def three(state: State) -> list[int]:
    state.add(Found(key, "study", "series", key) for key in "abc")
    return [waiting.number for waiting in state.next(9, but=())]


def test_an_object_is_known_by_its_key_after_a_restart_too(path: Path) -> None:
    state = State(path)
    assert state.add([Found("a"), Found("b"), Found("a")]) == 2
    state.close()
    state = State(path)
    assert state.add([Found("b"), Found("c")]) == 1
    assert [waiting.key for waiting in state.next(9, but=())] == ["a", "b", "c"]


def test_what_is_settled_or_under_way_is_not_handed_out(path: Path) -> None:
    state = State(path)
    first, second, third = three(state)
    state.settle(first, "answered", "digest", "")
    assert [waiting.number for waiting in state.next(9, but=[second])] == [third]
    assert [waiting.number for waiting in state.next(1, but=[second])] == [third]
    assert state.counts() == {
        "waiting": 2, "answered": 1, "refused": 0, "passed": 0, "failing": 0,
    }  # fmt: skip


def test_what_failed_waits_twice_as_long_each_time_up_to_an_hour(path: Path) -> None:
    state = State(path)
    three(state)
    waits = []
    for _ in range(12):
        (waiting,) = (each for each in state.next(9, but=()) if each.key == "a")
        waits.append(state.postpone(waiting, "reason", failed=True))
        state._db.execute("UPDATE photograph SET due = 0")
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert state.counts()["failing"] == 1


def test_a_restart_tries_at_once_what_would_wait_for_an_hour(path: Path) -> None:
    state = State(path)
    three(state)
    state.begin("rule")
    for _ in range(3):
        (waiting,) = state.next(1, but=())
        state.postpone(waiting, "reason", failed=True)
    assert state.next(9, but=()) == []
    assert state.has_left(2)
    assert not state.has_left(1)
    state.begin("rule")
    assert len(state.next(9, but=())) == 3
    assert state.has_left(1)


def test_what_a_server_failed_comes_behind_all_others_and_at_once(path: Path) -> None:
    state = State(path)
    three(state)
    (first, *_) = state.next(1, but=())
    assert state.postpone(first, "archive: away", failed=False) == 0
    assert [waiting.key for waiting in state.next(9, but=())] == ["b", "c", "a"]


def test_a_second_process_is_refused(path: Path) -> None:
    state = State(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        State(path)
    state.close()
    State(path).close()


def test_a_file_that_is_damaged_is_put_aside_and_begun_again(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    state = State(path)
    assert len(three(state)) == 3
    (aside,) = path.parent.glob("state.sqlite.damaged-*")
    assert aside.read_bytes().startswith(b"no database")


def test_another_rule_lets_what_was_passed_over_and_the_feed_begin_again(path: Path) -> None:
    state = State(path)
    state.begin("first rule")
    first, second, third = three(state)
    state.settle(first, "passed", "", "modality")
    state.settle(second, "answered", "digest", "")
    state.remember("change", "7")
    state.looked_through("study", 3)
    state.begin("first rule")
    assert (state.fact("change"), state.instances_of("study")) == ("7", 3)
    state.begin("second rule")
    assert (state.fact("change"), state.instances_of("study")) == ("", -1)
    assert [waiting.number for waiting in state.next(9, but=())] == [first, third]


def test_what_is_written_together_is_written_whole_or_not_at_all(path: Path) -> None:
    state = State(path)

    def add_and_fail() -> None:
        with state.together():
            state.add([Found("a")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_and_fail()
    assert state.next(9, but=()) == []
    assert state.counts()["waiting"] == 0
