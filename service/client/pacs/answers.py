"""Answer one photograph of an archive: fetch it, have it segmented, store what comes of it."""

import io
import json
import logging
import re
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from model_core.dicom.derived import MANUFACTURER
from model_core.errors import InputError
from service.client.client import Client
from service.client.errors import (
    AccessError,
    BusyError,
    ClientError,
    FailedError,
    RefusedError,
    ServiceUnreachableError,
)
from service.client.pacs.archive import (
    Archive,
    NotTakenError,
    attributes_of,
    dataset_of_answer,
)
from service.client.pacs.errors import (
    GonePhotographError,
    PhotographError,
    RefusedPhotographError,
    SideError,
)
from service.client.pacs.feed import Feed
from service.client.pacs.rule import Attributes, Rule
from service.client.pacs.state import Settled, Waiting
from service.client.pacs.telemetry import Telemetry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FORMATS: Mapping[str, str] = {
    "dicom-seg": "1.2.840.10008.5.1.4.1.1.66.4",
    "dicom-sc": "1.2.840.10008.5.1.4.1.1.7",
    "dicom-sr": "1.2.840.10008.5.1.4.1.1.88.22",
}
"""Formats that a photograph is answered in, and the kind of object (SOP class) that each is."""
_OUR_MODALITIES = {"SEG", "OT", "SR"}
_OF_PHOTOGRAPH = {413, 415, 422}
"""Statuses of problems with the photograph itself, where no parameter is at fault."""
_VERSION_S = 30.0
"""How long a version is asked for by its own name before `production` is looked up again."""
_STUDIES = 1_000
_TRIES = 4
_REFERENCE = re.compile(r'"00081155": \{[^}]*"Value": \["([0-9.]+)"\]')
logger = logging.getLogger("service.pacs")


@dataclass(frozen=True)
class Answered:
    """What became of a photograph.

    Attributes:
        state: That it is in for good.
        version: Digest of the version that was asked; empty where none was.
        reason: Why it is not answered, or in part; empty where it is.
    """

    state: Settled
    version: str = ""
    reason: str = ""


@dataclass
class _Study:
    """What a study holds of ours by one version: formats by the photograph they refer to."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    formats: dict[str, set[str]] | None = None


class Answerer:
    """Answers photographs, one a call, from several threads.

    Before a photograph is answered its study is looked through, once by this process: an answer of
    this version that is there already is never made again, whatever became of our own notes.
    """

    def __init__(
        self, archive: Archive, client: Client, feed: Feed, rule: Rule, telemetry: Telemetry, *,
        formats: Sequence[str], model: str,
    ) -> None:  # fmt: skip
        self._archive, self._client, self._feed, self._rule = archive, client, feed, rule
        self._telemetry, self._formats, self._model = telemetry, tuple(formats), model
        self._lock = threading.Lock()
        self._studies: OrderedDict[tuple[str, str], _Study] = OrderedDict()
        self._version: tuple[float, str, str] = (float("-inf"), "", "")

    def answer(self, waiting: Waiting) -> Answered:
        """Answer a photograph as far as it is not answered yet.

        Raises:
            SideError: a server cannot be used now; nothing is wrong with the photograph.
            RefusedPhotographError: the service will not answer this photograph.
            PhotographError: it failed, perhaps for now.
        """
        found = Attributes(waiting.instance, waiting.study, waiting.series)
        if found.instance is None:
            looked_up = self._feed.look_up(waiting.key)
            if looked_up is None:
                return Answered("passed", reason="gone from the archive")
            found = looked_up
        if reason := self._rule.passes_over(found):
            return Answered("passed", reason=reason)
        if not (found.instance and found.study and found.series):
            raise PhotographError("the archive does not say which study it is of")
        label, digest = self._current_version()
        with self._study(found.study, digest) as known:
            done = set(known.get(found.instance, ()))
        missing = [name for name in self._formats if name not in done]
        if not missing:
            return Answered("answered", digest, "was answered already")
        try:
            with self._telemetry.stage("retrieve"):
                data = self._archive.retrieve(found)
        except GonePhotographError:
            if waiting.attempts < _TRIES:  # what was found but now may not be stored as a whole yet
                raise
            return Answered("passed", reason="gone from the archive")
        if reason := self._reason_within(data, found):
            return Answered("passed", reason=reason)
        with self._telemetry.stage("segment"):
            answers = self._segment(data, label, missing)
        return self._store(found.study, found.instance, digest, answers)

    def _reason_within(self, data: bytes, found: Attributes) -> str:
        """Say why the rule passes over a photograph by its file, which says more than a search."""
        try:
            within = Attributes.of_file(data)
        except InputError:
            return ""  # the service says by name what is wrong
        if (within.study, within.instance) != (found.study, found.instance):
            raise PhotographError("the file is of another study or object than the archive says")
        return self._rule.passes_over(within)

    def _segment(self, data: bytes, label: str, formats: Sequence[str]) -> dict[str, "Dataset"]:
        """Have a photograph segmented once, in all formats."""
        with _asking():
            packed = self._client.segment_as(data, "zip", include=",".join(formats), model=label)
        answers: dict[str, Dataset] = {}
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for name in archive.namelist():
                dataset = dataset_of_answer(archive.read(name))
                answers[_format_of(str(dataset.SOPClassUID))] = dataset
        if answers.keys() != set(formats):
            raise SideError("service", f"answered with {len(answers)} of {len(formats)} formats")
        return answers

    def _store(
        self, study: str, instance: str, digest: str, answers: Mapping[str, "Dataset"]
    ) -> Answered:
        """Store the answers of a photograph in its study, each by itself."""
        declined: list[str] = []
        for name, dataset in answers.items():
            if dataset.StudyInstanceUID != study:
                raise PhotographError(f"the service answered {name} for another study")
            try:
                with self._telemetry.stage("store"):
                    self._archive.store(study, dataset)
            except NotTakenError:
                declined.append(name)
                continue
            except BaseException:  # is it stored, or not? the study is looked through again
                self._forget(study, digest)
                raise
            self._telemetry.stored.labels(name).inc()
            with self._study(study, digest) as known:
                known.setdefault(instance, set()).add(name)
        reason = f"the archive takes no {', '.join(declined)}" if declined else ""
        return Answered("answered", digest, reason)

    def _current_version(self) -> tuple[str, str]:
        """Return name and digest of the version to ask; each photograph is asked of one by name."""
        with self._lock:
            looked_up, label, digest = self._version
            if time.monotonic() - looked_up > _VERSION_S:
                with _asking():
                    detail = self._client.model(self._model)
                label, digest = f"{detail.name}@{detail.version}", detail.sha256
                self._version = (time.monotonic(), label, digest)
            return label, digest

    @contextmanager
    def _study(self, uid: str, digest: str) -> Iterator[dict[str, set[str]]]:
        """Lend what a study holds by a version; looked through by the first who asks."""
        with self._lock:
            study = self._studies.setdefault((uid, digest), _Study())
            self._studies.move_to_end((uid, digest))
            if len(self._studies) > _STUDIES:
                self._studies.popitem(last=False)
        with study.lock:
            if study.formats is None:
                study.formats = self._look_through(uid, digest)
            yield study.formats

    def _forget(self, uid: str, digest: str) -> None:
        with self._lock:
            self._studies.pop((uid, digest), None)

    def _look_through(self, uid: str, digest: str) -> dict[str, set[str]]:
        """Find the answers of a version in a study: each names the photograph it is of."""
        formats: dict[str, set[str]] = {}
        for item in self._archive.series(uid):
            series = attributes_of(item)
            ours = (series.series or "").startswith("2.25.") and series.modality in _OUR_MODALITIES
            if not ours or series.series is None:
                continue
            for each in self._archive.metadata(uid, series.series):
                text = json.dumps(each)
                found = attributes_of(each)
                if found.manufacturer == MANUFACTURER and digest in text:
                    for instance in _REFERENCE.findall(text):
                        name = _format_of(found.sop_class or "")
                        formats.setdefault(instance, set()).add(name)
        return formats


def _format_of(sop_class: str) -> str:
    return next((name for name, uid in FORMATS.items() if uid == sop_class), sop_class)


@contextmanager
def _asking() -> Iterator[None]:
    """Turn the client's errors into ours: does it hit this photograph, or any?"""
    try:
        yield
    except RefusedError as exc:
        of_query = any(fault.place != "body" for fault in exc.faults)
        if isinstance(exc, AccessError) or exc.status not in _OF_PHOTOGRAPH or of_query:
            raise SideError("service", str(exc)) from exc
        raise RefusedPhotographError(str(exc)) from exc
    except BusyError as exc:
        late = exc.status == httpx.codes.GATEWAY_TIMEOUT  # a large photograph may always be
        raise SideError("service", str(exc), wait_s=exc.retry_after_s, blamed=late) from exc
    except FailedError as exc:
        raise PhotographError(str(exc)) from exc
    except ClientError as exc:
        away = isinstance(exc.__cause__, (httpx.ConnectError, httpx.ConnectTimeout))
        blamed = isinstance(exc, ServiceUnreachableError) and not away
        raise SideError("service", " ".join(str(exc).split()), blamed=blamed) from exc
