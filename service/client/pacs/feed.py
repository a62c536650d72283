"""Follow what arrives in an archive: by Orthanc's list of changes, or by searching (QIDO-RS)."""

import logging
import time
from collections.abc import Iterator
from typing import Any, Literal, Protocol
from urllib.parse import urljoin

from service.client.pacs.archive import Archive, Json, attributes_of, text_of
from service.client.pacs.errors import GonePhotographError, PhotographError, SideError
from service.client.pacs.rule import Attributes, Rule
from service.client.pacs.state import Found, State

FeedName = Literal["auto", "changes", "qido"]
logger = logging.getLogger("service.pacs")

_CHANGES = 1_000
_WHOLE_S = 3_600.0
"""Between looks through every study: a number of objects does not tell that one was replaced."""
_SLICE_S = 0.5
"""Time for a part of a search: photographs are handed out in between."""
_NO_DAY = "99991231"
_STUDY, _COUNT = 0x0020_000D, 0x0020_1208
_SIMPLE = {
    "instance": "SOPInstanceUID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "sop_class": "SOPClassUID",
    "modality": "Modality",
    "station": "StationName",
    "series_description": "SeriesDescription",
    "study_description": "StudyDescription",
    "study_date": "StudyDate",
    "manufacturer": "Manufacturer",
}


class Feed(Protocol):
    """Names the objects of an archive, each at least once."""

    def poll(self, state: State) -> bool:
        """Write what has arrived into the state; returns whether there is more at once."""
        ...

    def look_up(self, key: str) -> Attributes | None:
        """Find the attributes of an object that the feed named without; None if it is gone."""
        ...


def choose_feed(name: FeedName, archive: Archive, rule: Rule) -> Feed:
    """Return the feed of this name; `auto` takes Orthanc's changes where there are any.

    Raises:
        SideError: `auto`, and the archive does not answer.
    """
    changes = ChangesFeed(archive)
    if name == "changes" or (name == "auto" and changes.exists()):
        return changes
    return QidoFeed(archive, rule)


class ChangesFeed:
    """Orthanc's list of changes, beside its DICOMweb services: nothing is searched."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._root = urljoin(f"{archive.url}/", "..")
        self._continued = False

    def exists(self) -> bool:
        """Ask whether the archive is an Orthanc whose own interface we may use."""
        try:
            system = self._archive.json(f"{self._root}system")
            return "ApiVersion" in system and "Changes" in self._changes(0, 1)
        except (PhotographError, TypeError):
            return False
        except SideError:  # of a proxy that lets nobody past the DICOMweb services, or is it away?
            list(self._archive.studies(_NO_DAY))
            return False

    def poll(self, state: State) -> bool:
        """Write up to a thousand changes into the state; returns whether there are more."""
        since = int(state.fact("change") or 0)
        begun = since and not self._continued
        if begun and not self._is_same_list(since, state.fact("changed")):
            logger.warning("the archive's list of changes is another one: all of it is read")
            since = 0
            state.remember("change", "0")  # an empty one has nothing to remember instead
        answer = self._changes(since, _CHANGES)
        if answer["Last"] < since:  # the archive was emptied while we followed it
            self._continued = False
            return True
        changes = answer["Changes"]
        with state.together():
            state.add(
                Found(f"orthanc/{change['ID']}")
                for change in changes
                if change["ChangeType"] == "NewInstance"
            )
            if changes:
                state.remember("change", str(changes[-1]["Seq"]))
                state.remember("changed", _name(changes[-1]))
        self._continued = True  # not before: what fails here is asked again from the same place
        return not answer["Done"]

    def look_up(self, key: str) -> Attributes | None:
        """Read an object's attributes, which Orthanc takes from its file."""
        number = key.removeprefix("orthanc/")
        try:
            tags = self._archive.json(f"{self._root}instances/{number}/simplified-tags")
        except GonePhotographError:
            return None
        texts = {name: tags.get(keyword, "") for name, keyword in _SIMPLE.items()}
        return Attributes(**{name: _first(value) for name, value in texts.items()})

    def _is_same_list(self, since: int, name: str) -> bool:
        """Tell whether the last change that we read is still in the list under its number."""
        changes = self._changes(since - 1, 1)["Changes"]
        return bool(changes) and _name(changes[0]) == name

    def _changes(self, since: int, limit: int) -> dict[str, Any]:
        found: dict[str, Any] = self._archive.json(
            f"{self._root}changes?since={since}&limit={limit}"
        )
        if not isinstance(found, dict) or not {"Changes", "Done", "Last"} <= found.keys():
            raise PhotographError("the archive's list of changes is not Orthanc's")
        return found


class QidoFeed:
    """Searches for studies whose number of objects is not what it was."""

    def __init__(self, archive: Archive, rule: Rule) -> None:
        self._archive, self._rule = archive, rule
        self._whole = time.monotonic()
        self._studies: Iterator[Json] | None = None
        self._failed: set[str] = set()

    def poll(self, state: State) -> bool:
        """Look through some of the studies that have changed; returns whether there are more."""
        if self._studies is None:
            if time.monotonic() - self._whole > _WHOLE_S:
                state.forget_studies()
                self._whole = time.monotonic()
            self._studies = self._archive.studies(self._rule.earliest)
        studies, self._studies = self._studies, None  # begins again after an error
        until = time.monotonic() + _SLICE_S
        for study in studies:
            self._look_through(study, state)
            if time.monotonic() > until:
                self._studies = studies
                return True
        return False

    def _look_through(self, study: Json, state: State) -> None:
        uid, count = text_of(study, _STUDY), text_of(study, _COUNT)
        number = int(count) if count.isdigit() else -1
        if not uid or (number >= 0 and number == state.instances_of(uid)):
            return
        try:
            found = self._photographs(uid, attributes_of(study))
        except PhotographError as exc:  # the other studies are none of its business
            logger.warning("a study cannot be searched, and is tried again: %s", exc)
            return
        except SideError as exc:  # of this study, or of any? the next poll begins with it again
            if not exc.blamed or uid not in self._failed:
                self._failed |= {uid} if exc.blamed else set()
                raise
            logger.warning("a study fails the archive each time, and is tried again: %s", exc)
            return
        self._failed.discard(uid)
        with state.together():
            state.add(found)
            state.looked_through(uid, number)

    def look_up(self, key: str) -> Attributes | None:
        """Return what the search for the object said; it is in the key."""
        study, series, instance = key.removeprefix("qido/").split("/")
        return Attributes(instance=instance, study=study, series=series)

    def _photographs(self, study: str, above: Attributes) -> list[Found]:
        """Find the photographs of a study that the rule may select, as far as a search tells."""
        found: list[Found] = []
        for item in self._archive.series(study):
            series = attributes_of(item).filled(above)
            if self._rule.passes_over(series) or not series.series:
                continue
            for each in self._archive.instances(study, series.series):
                instance = attributes_of(each).filled(series)
                if instance.instance and not self._rule.passes_over(instance):
                    key = f"qido/{study}/{series.series}/{instance.instance}"
                    found.append(Found(key, study, series.series, instance.instance))
        return found


def _name(change: dict[str, str]) -> str:
    return f"{change['ChangeType']} {change['ID']} {change['Date']}"


def _first(value: object) -> str:
    return str(value).split("\\", maxsplit=1)[0].strip() if isinstance(value, str) else ""
