"""Fetch the photographs of Label Studio's tasks, from its own address and nowhere else.

A task names its photograph by URL, and whoever may edit a task chooses it. So of the URL only the
path counts, and only where Label Studio keeps files; redirects are not followed, and no proxy of
the environment is asked. A photograph in a bucket comes through Label Studio, too.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx

from service.contract.errors import (
    BodyTooLargeError,
    Fault,
    InvalidRequestError,
    LabelStudioError,
)

_FOLDERS = ("data/", "storage-data/", "tasks/")
"""Below which Label Studio serves files."""
_BUCKETS = ("s3://", "gs://", "azure-blob://", "azure_spi://")
_SECONDS = 10.0


class Photographs:
    """A connection to Label Studio; `connected` makes one.

    Args:
        http: Its client.
        base: Label Studio's address, which ends in a slash.
        token: Its personal access token, or a legacy one; empty for none.
        max_bytes: Limit on a photograph.
    """

    def __init__(
        self, http: httpx.AsyncClient, base: httpx.URL, token: str, max_bytes: int
    ) -> None:
        self._http = http
        self._base = base
        self._token = token
        self._max_bytes = max_bytes
        self._authorization = ""
        self._asking = asyncio.Lock()

    async def fetch(self, name: str, task: int) -> bytes:
        """Fetch a photograph's bytes.

        Args:
            name: As the task names it.
            task: ID of the task.

        Raises:
            InvalidRequestError: it is elsewhere, Label Studio sends elsewhere, or it is gone.
            LabelStudioError: Label Studio does not answer, or not to this token.
            BodyTooLargeError: it has more bytes than the limit.
        """
        url = self._url(name, task)
        try:
            headers = {"Accept-Encoding": "identity", **await self._key()}
            async with self._http.stream("GET", url, headers=headers) as response:
                self._check(response)
                return await self._read(response)
        except httpx.HTTPError as exc:
            raise LabelStudioError(f"Label Studio does not answer: {type(exc).__name__}") from exc

    def _url(self, name: str, task: int) -> httpx.URL:
        """Make the address of a photograph, and refuse every other one."""
        try:
            if name.startswith(_BUCKETS):
                uri = base64.urlsafe_b64encode(name.encode()).decode()
                return self._base.join(f"tasks/{task}/resolve/?fileuri={uri}")
            url = httpx.URL(urljoin(str(self._base), name))
        except (httpx.InvalidURL, ValueError) as exc:
            raise _elsewhere("its photograph's URL is none") from exc
        own = (self._base.scheme, self._base.host, self._base.port)
        if (url.scheme, url.host, url.port) != own or url.userinfo:
            raise _elsewhere(
                "its photograph is not at Label Studio's own address (LESION_LABEL_STUDIO_URL): "
                "import it into Label Studio, or let Label Studio serve it"
            )
        folders = tuple(f"{self._base.path}{folder}" for folder in _FOLDERS)
        if not url.path.startswith(folders) or ".." in url.path.split("/"):
            raise _elsewhere("its photograph is not where Label Studio keeps files")
        return url

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_redirect:
            raise _elsewhere(
                "Label Studio sends elsewhere for its photograph: switch pre-signed URLs off in "
                "its storage, so that it serves the photograph itself"
            )
        if status in (401, 403):
            raise LabelStudioError(
                f"Label Studio refuses the photograph ({status}): is LESION_LABEL_STUDIO_TOKEN a "
                "token of a user who may see the project?"
            )
        if status == httpx.codes.NOT_FOUND:
            raise InvalidRequestError(Fault("tasks", "Label Studio has no such photograph (404)"))
        if status != httpx.codes.OK:
            raise LabelStudioError(f"Label Studio answers {status} for the photograph")

    async def _read(self, response: httpx.Response) -> bytes:
        parts, size = [], 0
        async for part in response.aiter_raw():
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                raise BodyTooLargeError(
                    f"the photograph has more than {self._max_bytes} bytes, the limit"
                )
        return b"".join(parts)

    async def _key(self) -> dict[str, str]:
        """Make the header that says who asks; a personal access token buys one for minutes."""
        async with self._asking:  # several photographs at a time want it
            if self._token and not self._authorization:
                personal = self._token.count(".") == 2  # a JSON Web Token
                self._authorization = await self._bought() if personal else f"Token {self._token}"
        return {"Authorization": self._authorization} if self._authorization else {}

    async def _bought(self) -> str:
        url = self._base.join("api/token/refresh/")
        response = await self._http.post(url, json={"refresh": self._token})
        self._check(response)
        try:
            return f"Bearer {response.json()['access']}"
        except (ValueError, KeyError, TypeError) as exc:
            raise LabelStudioError("Label Studio gives no token for its own") from exc


@asynccontextmanager
async def connected(url: str, token: str, max_bytes: int) -> AsyncIterator[Photographs]:
    """Open connections to Label Studio for as long as one request lasts."""
    async with httpx.AsyncClient(
        follow_redirects=False, trust_env=False, timeout=httpx.Timeout(_SECONDS, connect=3.0)
    ) as http:
        yield Photographs(http, httpx.URL(f"{url.rstrip('/')}/"), token, max_bytes)


def _elsewhere(detail: str) -> InvalidRequestError:
    """Make the error for a photograph that is not Label Studio's to serve."""
    return InvalidRequestError(Fault("tasks", detail))
