"""Keep in one SQLite file which photographs wait, and where in the archive's feed we are.

What the file cannot say (it is new, or a power cut took its last lines) is found in the archive
itself, where every answer names its photograph and its version.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Settled = Literal["answered", "refused", "passed"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS photograph (
    number INTEGER PRIMARY KEY,          -- as the log calls it
    key TEXT NOT NULL UNIQUE,            -- as the feed calls it
    study TEXT, series TEXT, instance TEXT,
    state TEXT NOT NULL DEFAULT 'waiting',
    due REAL NOT NULL DEFAULT 0,         -- time of the next attempt, s since 1970
    attempts INTEGER NOT NULL DEFAULT 0, -- that failed
    version TEXT,                        -- digest of the version that answered
    reason TEXT                          -- why it is not answered
);
CREATE INDEX IF NOT EXISTS waiting ON photograph (due, number) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS state ON photograph (state);
CREATE TABLE IF NOT EXISTS study (uid TEXT PRIMARY KEY, instances INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 3_600.0


@dataclass(frozen=True)
class Waiting:
    """A photograph that is to be answered.

    Attributes:
        number: As the log calls it: an identifier would name a patient's study.
        key: As the feed calls it.
        study: UID; None where the feed does not say.
        series: The same.
        instance: The same.
        attempts: Attempts that failed.
    """

    number: int
    key: str
    study: str | None
    series: str | None
    instance: str | None
    attempts: int


@dataclass(frozen=True)
class Found:
    """An object that a feed names.

    Attributes:
        key: As the feed calls it, always the same.
        study: UID, if known.
        series: UID, if known.
        instance: UID, if known.
    """

    key: str
    study: str | None = None
    series: str | None = None
    instance: str | None = None


class State:
    """The file, open in one process at a time; only one thread may use it.

    Raises:
        sqlite3.OperationalError: another process has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._open()
        except sqlite3.OperationalError:
            raise  # locked, or the disk is full: the file is as good as it was
        except sqlite3.DatabaseError:  # not our file any more: put aside, never overwritten
            path.rename(path.with_name(f"{path.name}.damaged-{time.time():.0f}"))
            self._open()

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, timeout=1, isolation_level=None)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("COMMIT")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file, for the next process."""
        self._db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all that the block writes, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has ended it itself where the disk is full
                self._db.execute("ROLLBACK")
            raise

    def begin(self, rule: str) -> None:
        """Try everything that waits at once, and where the rule is another one, search again."""
        self._db.execute("UPDATE photograph SET due = 0 WHERE state = 'waiting'")
        if self.fact("rule") != rule:
            with self.together():
                self._db.execute("UPDATE photograph SET state = 'waiting' WHERE state = 'passed'")
                self._db.execute("DELETE FROM study")
                self._db.execute("DELETE FROM fact")
                self.remember("rule", rule)

    def fact(self, name: str) -> str:
        """Read what `remember` wrote; empty where there is nothing."""
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", [name]).fetchone()
        return str(row[0]) if row else ""

    def remember(self, name: str, value: str) -> None:
        """Write a fact."""
        self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", [name, value])

    def instances_of(self, study: str) -> int:
        """Return how many objects a study had when it was last looked through; -1 if never."""
        sql = "SELECT instances FROM study WHERE uid = ?"
        row = self._db.execute(sql, [study]).fetchone()
        return int(row[0]) if row else -1

    def looked_through(self, study: str, instances: int) -> None:
        """Remember how many objects a study has."""
        self._db.execute("INSERT OR REPLACE INTO study VALUES (?, ?)", [study, instances])

    def forget_studies(self) -> None:
        """Let the next poll look through every study."""
        self._db.execute("DELETE FROM study")

    def add(self, found: Iterable[Found]) -> int:
        """Add objects that are not known yet; returns how many were not."""
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO photograph (key, study, series, instance) VALUES (?, ?, ?, ?)",
            [(each.key, each.study, each.series, each.instance) for each in found],
        )
        return self._db.total_changes - before

    def next(self, limit: int, *, but: Sequence[int]) -> list[Waiting]:
        """Return those that are due, the one that has waited longest first.

        Args:
            limit: At most.
            but: Numbers of those under way.
        """
        # So many more that enough are left when those under way, which are due too, are left out.
        rows = self._db.execute(
            "SELECT number, key, study, series, instance, attempts FROM photograph "
            "WHERE state = 'waiting' AND due <= ? ORDER BY due, number LIMIT ?",
            [time.time(), limit + len(but)],
        )
        return [Waiting(*row) for row in rows if row[0] not in but][:limit]

    def has_left(self, tries: int) -> bool:
        """Tell whether a photograph is due, or has failed less often than this."""
        sql = "SELECT 1 FROM photograph WHERE state = 'waiting' AND (attempts < ? OR due <= ?)"
        return self._db.execute(f"{sql} LIMIT 1", [tries, time.time()]).fetchone() is not None

    def settle(self, number: int, state: Settled, version: str, reason: str) -> None:
        """Write that a photograph needs nothing more."""
        sql = "UPDATE photograph SET state = ?, version = ?, reason = ? WHERE number = ?"
        self._db.execute(sql, [state, version, reason, number])

    def postpone(self, waiting: Waiting, reason: str, *, failed: bool) -> float:
        """Try a photograph again behind all others; where it failed, each time later than before.

        Returns:
            The wait, s.
        """
        attempts = waiting.attempts + failed
        wait = min(_FIRST_WAIT_S * 2 ** min(attempts - 1, 20), _LONGEST_WAIT_S) if failed else 0.0
        sql = "UPDATE photograph SET attempts = ?, due = ?, reason = ? WHERE number = ?"
        self._db.execute(sql, [attempts, time.time() + wait, reason, waiting.number])
        return wait

    def counts(self) -> dict[str, int]:
        """Count the photographs by state, and as `failing` those that wait for another attempt."""
        rows = self._db.execute("SELECT state, count(*) FROM photograph GROUP BY state").fetchall()
        sql = "SELECT count(*) FROM photograph WHERE state = 'waiting' AND attempts > 0"
        failing = self._db.execute(sql).fetchone()[0]
        none = dict.fromkeys(("waiting", "answered", "refused", "passed"), 0)
        return none | dict(rows) | {"failing": failing}
