"""Speak DICOMweb to an archive: search, retrieve and store (PS3.18), by `dicomweb-client`."""

import io
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from service.client.pacs.errors import GonePhotographError, PhotographError, SideError
from service.client.pacs.rule import TAGS, Attributes

if TYPE_CHECKING:
    import requests
    from dicomweb_client.web import DICOMwebClient
    from pydicom.dataset import Dataset

Json = Mapping[str, Any]

MAX_FILE_BYTES = 2**28
"""Largest object that is retrieved: far above what the service takes, and it fits into memory."""
_CONNECT_S = 5.0
_PAGE = 200
_CHUNK = 1 << 16
_AWAY = {401, 403, 407, 408, 425, 429, 503, 507}
"""Statuses that the next request would meet too; of those from 500 this one may be the cause."""
_NOT_TAKEN = {0x0122, 0x0124}
"""Failure reasons of an archive that takes no object of a kind (PS3.4, B.2.3)."""
_NO_CONNECTION = {"NewConnectionError", "ConnectTimeoutError", "NameResolutionError"}
_ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class NotTakenError(Exception):
    """The archive takes no object of this kind."""


class Archive:
    """An archive's DICOMweb services; several threads may share one.

    Args:
        url: Of the services: `http://127.0.0.1:8042/dicom-web`.
        user: For HTTP's basic authentication, with `password`.
        password: Of the user.
        token: Sent as `Authorization: Bearer` instead.
        timeout_s: Longest wait for any part of an answer, s.

    Every call raises:
        SideError: the archive is away, busy or full, or refuses this caller.
        PhotographError: it refuses this request alone.
    """

    def __init__(
        self, url: str, *, user: str = "", password: str = "", token: str = "",
        timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        self.url = url.rstrip("/")
        self._auth = (user, password) if user else None
        self._token = token
        self._timeout = (min(_CONNECT_S, timeout_s), timeout_s)
        self._of_thread = threading.local()
        # It writes identifiers of studies at lower levels, and answers' texts.
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)

    def studies(self, earliest: str) -> Iterator[Json]:
        """Search for all studies, those before a date of eight digits apart where it is given."""
        dates = {"StudyDate": f"{earliest}-"} if earliest else {}
        wanted = ["NumberOfStudyRelatedInstances", "StudyDescription"]
        yield from self._pages("search_for_studies", fields=wanted, search_filters=dates)

    def series(self, study: str) -> list[Json]:
        """Search for the series of a study."""
        wanted = ["StationName", "SeriesDescription", "Manufacturer"]
        return list(self._pages("search_for_series", study_instance_uid=study, fields=wanted))

    def instances(self, study: str, series: str) -> list[Json]:
        """Search for the objects of a series."""
        ids = {"study_instance_uid": study, "series_instance_uid": series}
        return list(self._pages("search_for_instances", **ids, fields=["SOPClassUID"]))

    def metadata(self, study: str, series: str) -> list[Json]:
        """Retrieve all attributes of the objects of a series, without pixels."""
        with _explained():
            return list(self._client().retrieve_series_metadata(study, series))

    def retrieve(self, found: Attributes) -> bytes:
        """Retrieve an object's file, byte for byte as it is stored.

        Not by dicomweb-client, which parses it: what cannot be parsed is for the service to name.
        """
        parts = ("studies", found.study, "series", found.series, "instances", found.instance)
        path = "/".join(quote(part or "", safe="") for part in parts)
        with _explained(), self._get(f"{self.url}/{path}", {"Accept": _ANY}) as response:
            return _only_part(response.headers.get("content-type", ""), _body(response))

    def json(self, url: str) -> Any:
        """Ask for the JSON at an address that is not of DICOMweb."""
        with _explained(), self._get(url, {"Accept": "application/json"}) as response:
            return response.json()

    def store(self, study: str, dataset: "Dataset") -> None:
        """Store an object in a study.

        Raises:
            NotTakenError: the archive takes no object of its kind.
        """
        import requests

        client = self._client()
        try:
            with _explained(passed_on=requests.HTTPError):
                answer = client.store_instances([dataset], study)
        except requests.HTTPError as exc:
            if exc.response is None or exc.response.status_code != 409:
                raise _failure(exc.response) from None
            answer = _dataset_of(exc.response)
        for failed in answer.get("FailedSOPSequence") or []:
            reason = int(failed.get("FailureReason") or 0)
            if reason in _NOT_TAKEN:
                raise NotTakenError
            if 0xA700 <= reason <= 0xA7FF:
                raise SideError("archive", "is out of space (A7xx)")
            raise PhotographError(f"the archive did not store the answer (reason {reason:04X})")
        if "ReferencedSOPSequence" not in answer:  # says nothing: is it there?
            listed = {
                attributes_of(item).instance
                for item in self.instances(study, str(dataset.SeriesInstanceUID))
            }
            if str(dataset.SOPInstanceUID) not in listed:
                raise PhotographError("the archive took the answer, and does not list it")

    def _pages(self, call: str, **arguments: Any) -> Iterator[Json]:
        """Search page by page; an archive that gives the same page again has no more."""
        seen: set[str] = set()
        offset = 0
        while True:
            with _explained():
                search = getattr(self._client(), call)
                page: Sequence[Json] = search(limit=_PAGE, offset=offset, **arguments)
            new = [item for item in page if (key := _key(item)) not in seen and not seen.add(key)]  # type: ignore[func-returns-value]
            yield from new
            offset += len(page)
            # Some archives have a limit below ours: a short page need not be the last.
            if not new:
                return

    def _client(self) -> "DICOMwebClient":
        """Return this thread's client: sessions of `requests` are not to be shared."""
        if not hasattr(self._of_thread, "client"):
            from dicomweb_client.web import DICOMwebClient

            client = DICOMwebClient(
                self.url,
                self._session(),
                # In one piece: it would send the rest of a generator when it tries again.
                chunk_size=2 * MAX_FILE_BYTES,
                permissive_uid=True,
                timeout=self._timeout,
            )
            client.set_http_retry_params(retry=False)  # whether to wait is decided in one place
            self._of_thread.client = client
        found: DICOMwebClient = self._of_thread.client
        return found

    def _session(self) -> "requests.Session":
        """Return this thread's session, with the key."""
        if not hasattr(self._of_thread, "session"):
            import requests

            session = requests.Session()
            session.auth = self._auth
            if self._token:
                session.headers["Authorization"] = f"Bearer {self._token}"
            session.headers["User-Agent"] = "lesion-pacs"
            session.headers["Accept"] = "application/dicom+json"  # of what was stored
            self._of_thread.session = session
        found: requests.Session = self._of_thread.session
        return found

    def _get(self, url: str, headers: dict[str, str]) -> "requests.Response":
        response = self._session().get(url, headers=headers, timeout=self._timeout, stream=True)
        response.raise_for_status()
        return response


def attributes_of(item: Json) -> Attributes:
    """Read the attributes that a listing in DICOM JSON has."""
    return Attributes.of_tags({tag: text for tag in TAGS.values() if (text := text_of(item, tag))})


def text_of(item: Json, tag: int) -> str:
    """Read the first value of an element of DICOM JSON as text; empty where there is none."""
    values = (item.get(f"{tag:08X}") or {}).get("Value") or [""]
    return "" if values[0] is None else str(values[0])


def _key(item: Json) -> str:
    return "|".join(text_of(item, TAGS[name]) for name in ("study", "series", "instance"))


def _body(response: "requests.Response") -> bytes:
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > MAX_FILE_BYTES:
            raise PhotographError(f"the object has more than {MAX_FILE_BYTES} bytes")
    return bytes(body)


def _only_part(content_type: str, body: bytes) -> bytes:
    """Take the one part of a multipart body; some archives send it without the parts around."""
    if not content_type.lower().startswith("multipart/"):
        return body
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip('" ')
    start, end = body.find(b"\r\n\r\n"), body.rfind(b"\r\n--" + boundary.encode())
    if not boundary or start < 0 or end < start:
        raise PhotographError("the archive's answer is no multipart/related body of one part")
    return body[start + 4 : end]


def _dataset_of(response: "requests.Response") -> "Dataset":
    from pydicom.dataset import Dataset

    try:
        return Dataset.from_json(response.json())
    except (ValueError, KeyError, TypeError):
        return Dataset()


def _failure(response: "requests.Response | None") -> Exception:
    status = 0 if response is None else response.status_code
    if status in _AWAY or status >= 500:
        return SideError("archive", f"answered {status}", blamed=status not in _AWAY)
    if status in (404, 410):
        return GonePhotographError(f"the archive answered {status}")
    return PhotographError(f"the archive answered {status}")


def _is_away(error: Exception) -> bool:
    """Tell whether no connection was made: then nothing that was asked for is the cause."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return type(reason).__name__ in _NO_CONNECTION


@contextmanager
def _explained(passed_on: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn errors of the libraries into ours, without their texts: these name studies."""
    import requests

    try:
        yield
    except passed_on:
        raise
    except requests.HTTPError as exc:
        raise _failure(exc.response) from None
    except requests.JSONDecodeError:
        raise PhotographError("the archive's answer is no JSON") from None
    except requests.RequestException as exc:
        reason = f"does not answer ({type(exc).__name__})"
        raise SideError("archive", reason, blamed=not _is_away(exc)) from None


def dataset_of_answer(data: bytes) -> "Dataset":
    """Read an object that the service wrote."""
    import pydicom

    return pydicom.dcmread(io.BytesIO(data))
