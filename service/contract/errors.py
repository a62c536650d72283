"""The service's own errors, and the one table from every error to its HTTP problem.

InputError                          the caller can fix it; beside those of `model_core.errors`:
├── InvalidRequestError                 a parameter or field is missing, unknown or out of range
├── MalformedBodyError                  a multipart body that cannot be parsed
├── BodyTooLargeError                   more bytes than the limit
├── MalformedRequestError               bytes that are no HTTP request
├── HeadTooSlowError                    its head comes more slowly than the limit
├── HeadTooLargeError                   its head is longer than the limit
├── BodyTooSlowError                    its bytes come more slowly than the limit
├── TooManyPixelsError                  more pixels in all than the limit
├── UnsupportedMediaTypeError           a Content-Type or -Encoding that is not taken here
├── NotAcceptableError                  an Accept that cannot be served
├── NoSuchRouteError                    nothing answers at this path
├── MethodNotAllowedError               something does, but not to this method
├── InvalidKeyError                     no API key, or one that does not count (any more)
├── MissingScopeError                   a key that was not made for this route
└── RateLimitedError                    this caller asks too often
UnavailableError                    the caller can try again later
├── QueueFullError                      as many requests as allowed are being worked on
├── OverloadedError                     its turn would come too late
├── DeadlineError                       its turn came too late
├── EngineFailedError                   the network failed
├── DecoderFailedError                  the process that decoded was ended from outside
├── DeadError                           only another process can answer
└── NotReadyError                       no model is loaded

`service.server.error_handlers` answers each as RFC 9457 `application/problem+json`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from model_core.errors import (
    ConfigError,
    CorruptVersionError,
    DatasetError,
    GateError,
    ImageTooLargeError,
    InputError,
    InvalidMaskError,
    InvalidRleError,
    MultiFrameImageError,
    RegistryUnavailableError,
    SegmentationError,
    ShapeMismatchError,
    UnreadableImageError,
    UnsupportedImageError,
    VersionExistsError,
    VersionNotFoundError,
)
from service.contract.quoting import known_field


class Fault(NamedTuple):
    """One thing that is wrong with a request.

    Attributes:
        field: Name of the parameter or form field.
        detail: What was found and what was expected.
        place: Where it is: `body`, `query` or `path`.
    """

    field: str
    detail: str
    place: str = "body"


class InvalidRequestError(InputError):
    """A parameter or field is missing, unknown or out of range."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = [fault._replace(field=known_field(fault.field)) for fault in faults]
        super().__init__("; ".join(f"{fault.field}: {fault.detail}" for fault in self.faults))


class MalformedBodyError(InputError):
    """The body is not the multipart form it claims to be."""


class BodyTooLargeError(InputError):
    """The body has more bytes than the limit."""


class MalformedRequestError(InputError):
    """The bytes on the connection are no HTTP request."""


class HeadTooSlowError(InputError):
    """The head of the request comes more slowly than the limit."""


class HeadTooLargeError(InputError):
    """The head of the request is longer, or has more headers, than the limit."""


class BodyTooSlowError(InputError):
    """The body's bytes come more slowly than the limits."""


class TooManyPixelsError(InputError):
    """The photographs and masks of a request have more pixels in all than the limit."""


class UnsupportedMediaTypeError(InputError):
    """The body is of a Content-Type or Content-Encoding that this route does not take.

    Attributes:
        headers: What it does take, where HTTP has a header for that.
    """

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = headers or {}


class NotAcceptableError(InputError):
    """The Accept header leaves nothing that this route can answer with."""


class NoSuchRouteError(InputError):
    """No route has this path."""


class MethodNotAllowedError(InputError):
    """The route of this path does not know this method."""


class _RefusedCallerError(InputError):
    """The answer depends on who asks; `headers` are those that HTTP wants on it."""

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class InvalidKeyError(_RefusedCallerError):
    """The request has no API key, or an unknown or expired one."""


class MissingScopeError(_RefusedCallerError):
    """The API key is valid, but not for this route."""


class RateLimitedError(_RefusedCallerError):
    """This caller's requests come faster than its limit."""


class UnavailableError(SegmentationError):
    """The service cannot answer now, but can later.

    Attributes:
        headers: `Retry-After`, where it is known better than in the table.
    """

    def __init__(self, detail: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class QueueFullError(UnavailableError):
    """As many requests, pixels or bytes as allowed are being worked on or waiting."""


class OverloadedError(UnavailableError):
    """By the pace of late, the request's turn would come after its deadline."""


class DeadlineError(UnavailableError):
    """The request was not answered in time, and what was left of its work is dropped."""


class EngineFailedError(UnavailableError):
    """The network failed; what it was asked is not the reason."""


class DecoderFailedError(UnavailableError):
    """The process that decoded the photograph was ended from outside; the file is not to blame."""


class DeadError(UnavailableError):
    """The process cannot recover and should be killed."""


class NotReadyError(UnavailableError):
    """No model is loaded."""


class Problem(NamedTuple):
    """How one kind of error is answered and explained.

    Attributes:
        status: HTTP status.
        slug: Last part of the problem's `type`, and its heading in docs/errors.md.
        title: The same for every occurrence.
        meaning: What it means and what to do, for its page.
        example: A `detail` as a caller may read it.
        retry_after_s: When trying again makes sense, s; None where it never does by itself.
    """

    status: int
    slug: str
    title: str
    meaning: str
    example: str
    retry_after_s: int | None = None


INTERNAL = Problem(
    500,
    "internal-error",
    "Internal error",
    "Something failed that should not. The answer says no more on purpose; the log does, under "
    "the same request ID.",
    "",
)
_INVALID_REQUEST = Problem(
    422,
    "invalid-request",
    "Invalid request",
    "A query parameter or form field is missing, unknown or out of range. `errors` names each one, "
    "and of an unknown parameter the nearest that the route has.",
    "threshold: Input should be less than 1",
)

PROBLEMS: dict[type[SegmentationError], Problem] = {
    InvalidRequestError: _INVALID_REQUEST,
    ConfigError: _INVALID_REQUEST,
    MalformedBodyError: Problem(
        400,
        "malformed-body",
        "Malformed body",
        "The multipart body cannot be parsed: its boundary is missing or its end never came.",
        "the multipart body ends before its closing boundary",
    ),
    MalformedRequestError: Problem(
        400,
        "malformed-request",
        "Malformed request",
        "What came over the connection is no HTTP/1.1 request, or can be read as one in more ways "
        "than one, such as with two lengths. The connection is closed.",
        "the bytes are no HTTP/1.1 request: Duplicate Content-Length",
    ),
    InvalidKeyError: Problem(
        401,
        "invalid-key",
        "No valid API key",
        "The service wants an API key here, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, "
        "and found none, or one that is unknown, revoked or expired. The operator makes them.",
        "the request has no API key; send one as Authorization: Bearer KEY or X-API-Key: KEY",
    ),
    MissingScopeError: Problem(
        403,
        "missing-scope",
        "Key without the scope",
        "The API key is valid, but was not made for this route. The operator can make one with the "
        "scope that `detail` names.",
        "the key has the scopes segment, this route needs evaluate",
    ),
    NoSuchRouteError: Problem(
        404,
        "no-such-route",
        "No such route",
        "Nothing answers at this path. `/docs` lists all there is.",
        "there is nothing at this path; /docs lists all routes",
    ),
    VersionNotFoundError: Problem(
        404,
        "version-not-found",
        "No such version",
        "The registry has no such model, version or alias. `GET /models` lists what it has.",
        "no such version or alias; GET /models lists all there are",
    ),
    MethodNotAllowedError: Problem(
        405,
        "method-not-allowed",
        "Method not allowed",
        "The path exists, but not for this method. The `Allow` header says which it takes.",
        "this path does not take that method, it takes POST",
    ),
    NotAcceptableError: Problem(
        406,
        "not-acceptable",
        "Not acceptable",
        "The `Accept` header admits none of the types that this route can answer with. Change "
        "it, or choose with the query parameter `format`, which has precedence.",
        "Accept admits none of image/png, application/json",
    ),
    BodyTooLargeError: Problem(
        413,
        "body-too-large",
        "Body too large",
        "The request body, or a photograph of a batch, has more bytes than "
        "`LESION_MAX_BODY_BYTES`, or the body of a batch more than `LESION_MAX_BATCH_BYTES`. It is "
        "refused before it is read to its end.",
        "the body has more than 20000000 bytes, the limit",
    ),
    HeadTooSlowError: Problem(
        408,
        "head-too-slow",
        "Head too slow",
        "The request line and the headers did not come whole within `LESION_HEADER_SECONDS`. The "
        "connection is closed.",
        "the head was not whole after 10 s, the limit",
    ),
    BodyTooSlowError: Problem(
        408,
        "body-too-slow",
        "Body too slow",
        "The request body did not come whole within `LESION_BODY_SECONDS`, or nothing of it came "
        "for `LESION_BODY_IDLE_SECONDS`.",
        "no byte of the body came for 10 s, the limit",
    ),
    TooManyPixelsError: Problem(
        413,
        "too-many-pixels",
        "Too many pixels in all",
        "The photographs and masks of the request have more pixels in all than "
        "`LESION_MAX_REQUEST_PIXELS`. Send them in several requests.",
        "the request has 1200000000 pixels in all, the limit is 1000000000",
    ),
    ImageTooLargeError: Problem(
        413,
        "image-too-large",
        "Image too large",
        "The image has more pixels than `LESION_MAX_IMAGE_PIXELS`. Its header says so; it was "
        "never decoded. Send a smaller one.",
        "the image has 13000x13000 = 169000000 pixels, the limit is 50000000",
    ),
    UnsupportedImageError: Problem(
        415,
        "unsupported-image",
        "Unsupported image type",
        "The file's first bytes, not its name or declared type, say that it is of a type which "
        "is not read here. Photographs are JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM "
        "(what of it is in docs/dicom.md); masks are PNG or COCO JSON. Camera raw, BigTIFF, "
        "packed files, base64 and TIFF pixels of unusual depth are named in `detail`, with what "
        "to do.",
        "found a GIF file, expected JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM",
    ),
    UnsupportedMediaTypeError: Problem(
        415,
        "unsupported-media-type",
        "Unsupported media type",
        "The `Content-Type` of the body is not taken here. Send `multipart/form-data`, or to "
        "`/segment` the image itself as `image/jpeg` or the like. Nor is a `Content-Encoding` such "
        "as `gzip`: images are compressed already.",
        "Content-Type is 'application/json', expected multipart/form-data",
    ),
    UnreadableImageError: Problem(
        422,
        "unreadable-image",
        "Unreadable image",
        "The file is empty, truncated or damaged. A partial image is never guessed at; what stands "
        "beside the pixels (text, previews, odd EXIF, a missing end marker) is passed over.",
        "the JPEG file is truncated or damaged and cannot be decoded",
    ),
    MultiFrameImageError: Problem(
        422,
        "multi-frame-image",
        "Several frames or pages",
        "The file is an animation or has several pages or frames. Send the one photograph that is "
        "meant. TIFF pages marked as reduced or as mask of another are passed over.",
        "the TIFF file has several pages, expected one photograph",
    ),
    InvalidMaskError: Problem(
        422,
        "invalid-mask",
        "Invalid mask",
        "A mask PNG must have one channel with two levels, such as 0 and 255, of which the higher "
        "is lesion. Masks saved as JPEG or resized with smoothing have values between: cut them at "
        "128 first. A palette whose colours contradict its indices is refused.",
        "pair 0: truth: the mask holds 3 values (0, 128, 255), expected two, such as 0 and 255",
    ),
    InvalidRleError: Problem(
        422,
        "invalid-rle",
        "Invalid run-length mask",
        "The JSON does not describe one mask as COCO does: run lengths, of which `size` is "
        "[height, width] and `counts` are column-major runs, compressed or not, that add up to "
        "height times width; or polygons `[[x, y, x, y, ...]]` in pixels, with `image` (height and "
        "width) where nothing else tells their photograph's size. Of a whole data set send the "
        "annotation of the photograph alone; GeoJSON is not read.",
        "pair 0: pred: counts add up to 11 pixels, size says 12",
    ),
    ShapeMismatchError: Problem(
        422,
        "shape-mismatch",
        "Masks differ in size",
        "Both masks of a pair must have the same height and width. The truth of a photograph "
        "must have those of the upright photograph, its EXIF orientation applied.",
        "pair 0: truth is (600, 800), pred is (768, 1024)",
    ),
    HeadTooLargeError: Problem(
        431,
        "head-too-large",
        "Head too large",
        "The request line and the headers have more bytes than `LESION_MAX_HEADER_BYTES`, or there "
        "are more than 100 headers. The connection is closed.",
        "the head has more than 32768 bytes, the limit",
    ),
    RateLimitedError: Problem(
        429,
        "rate-limited",
        "Too many requests of this caller",
        "Requests with this API key (without keys: from this address) come faster than "
        "`LESION_RATE_LIMIT` allows. Try again after the `Retry-After` header's number of seconds.",
        "more than 5 requests a second, with at most 20 at once; try again in 1 s",
        retry_after_s=1,
    ),
    CorruptVersionError: Problem(
        503,
        "corrupt-version",
        "Version fails its checks",
        "The stored version does not pass its own checks and is not served. The operator has to "
        "publish or promote another one; the log says what is wrong.",
        "lesion-unet/1.1.1 lacks the file model.safetensors",
        retry_after_s=60,
    ),
    RegistryUnavailableError: Problem(
        503,
        "registry-unavailable",
        "Registry cannot be reached",
        "The store of the model versions does not answer, so what is not loaded yet cannot be had. "
        "The versions that are loaded go on answering.",
        "s3://models cannot be reached: EndpointConnectionError",
        retry_after_s=30,
    ),
    NotReadyError: Problem(
        503,
        "not-ready",
        "Not ready",
        "No model is loaded or the network is loaded anew, or the service is starting or stopping.",
        "no model is loaded yet",
        retry_after_s=2,
    ),
    EngineFailedError: Problem(
        503,
        "engine-failed",
        "The network failed",
        "The network broke off while it ran this photograph, which is not the photograph's fault. "
        "After three times in a row it is loaded anew. The log says what happened.",
        "the network failed; it is tried again, or loaded anew",
        retry_after_s=5,
    ),
    DecoderFailedError: Problem(
        503,
        "decoder-failed",
        "The decoder was ended",
        "The process that decoded this photograph was ended from outside, for want of memory or "
        "by the operator, and another takes its place. A file that breaks it is answered 422.",
        "the process that decoded the image was ended; try again",
        retry_after_s=1,
    ),
    DeadError: Problem(
        503,
        "dead",
        "To be killed",
        "`/healthz` alone says so: loading the network anew did not help, and the process ends "
        "itself in 20 s, unless somebody kills it before.",
        "the network was loaded anew in vain; start another process",
        retry_after_s=30,
    ),
    QueueFullError: Problem(
        503,
        "queue-full",
        "Queue full",
        "`LESION_MAX_QUEUE` requests are being worked on or waiting, or they have as many pixels "
        "(`LESION_MAX_PIXELS_IN_FLIGHT`) or bytes (`LESION_MAX_BUFFERED_BYTES`) as are allowed at "
        "once, or as many connections are open (`LESION_MAX_CONNECTIONS`). Try again after the "
        "`Retry-After` header's number of seconds: by then, at the pace "
        "of late, all of them are answered.",
        "64 requests are being worked on, the limit is 64",
        retry_after_s=1,
    ),
    OverloadedError: Problem(
        503,
        "overloaded",
        "Overloaded",
        "By the pace of late the answer would come later than `LESION_DEADLINE_SECONDS`, so the "
        "request is refused at once. Try again after the `Retry-After` header's number of seconds.",
        "an answer would take about 12.5 s, the limit is 10 s",
        retry_after_s=1,
    ),
    DeadlineError: Problem(
        504,
        "deadline-passed",
        "Deadline passed",
        "The request was let in, but not answered within `LESION_DEADLINE_SECONDS` (an evaluation: "
        "`LESION_EVALUATION_SECONDS`). What was left of its work is dropped. Send less at once.",
        "no answer within 10 s, the limit",
    ),
    # Only the trainer raises these.
    DatasetError: INTERNAL,
    GateError: INTERNAL,
    VersionExistsError: INTERNAL,
}

BY_SLUG = {problem.slug: problem for problem in PROBLEMS.values()}


def problem_of(error: SegmentationError) -> Problem:
    """The table's row of an error: its class's, or that of the nearest base class."""
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return INTERNAL
