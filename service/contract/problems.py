"""Map every error to its HTTP problem (RFC 9457).

The pages at `/problems`, the OpenAPI document and docs/errors.md are written from this table.
"""

from model_core import errors as model_errors
from service.contract import errors
from service.contract.problem import Problem

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

PROBLEMS: dict[type[model_errors.SegmentationError], Problem] = {
    errors.InvalidRequestError: _INVALID_REQUEST,
    model_errors.ConfigError: _INVALID_REQUEST,
    errors.MalformedBodyError: Problem(
        400,
        "malformed-body",
        "Malformed body",
        "The multipart body cannot be parsed: its boundary is missing or its end never came.",
        "the multipart body ends before its closing boundary",
    ),
    errors.MalformedRequestError: Problem(
        400,
        "malformed-request",
        "Malformed request",
        "What came over the connection is no HTTP/1.1 request, or can be read as one in more ways "
        "than one, such as with two lengths. The connection is closed.",
        "the bytes are no HTTP/1.1 request: Duplicate Content-Length",
    ),
    errors.InvalidKeyError: Problem(
        401,
        "invalid-key",
        "No valid API key",
        "The service wants an API key here, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, "
        "and found none, or one that is unknown, revoked or expired. The operator makes them.",
        "the request has no API key; send one as Authorization: Bearer KEY or X-API-Key: KEY",
    ),
    errors.MissingScopeError: Problem(
        403,
        "missing-scope",
        "Key without the scope",
        "The API key is valid, but was not made for this route. The operator can make one with the "
        "scope that `detail` names.",
        "the key has the scopes segment, this route needs evaluate",
    ),
    errors.NoSuchRouteError: Problem(
        404,
        "no-such-route",
        "No such route",
        "Nothing answers at this path. `/docs` lists all there is.",
        "there is nothing at this path; /docs lists all routes",
    ),
    errors.CorrectionsOffError: Problem(
        404,
        "corrections-off",
        "No corrections are kept",
        "The operator has named no folder or bucket for corrections (`LESION_CORRECTIONS`). Keep "
        "the corrected mask yourself.",
        "this service keeps no corrections: its operator has not set LESION_CORRECTIONS",
    ),
    model_errors.VersionNotFoundError: Problem(
        404,
        "version-not-found",
        "No such version",
        "The registry has no such model, version or alias. `GET /models` lists what it has.",
        "no such version or alias; GET /models lists all there are",
    ),
    errors.MethodNotAllowedError: Problem(
        405,
        "method-not-allowed",
        "Method not allowed",
        "The path exists, but not for this method. The `Allow` header says which it takes.",
        "this path does not take that method, it takes POST",
    ),
    errors.NotAcceptableError: Problem(
        406,
        "not-acceptable",
        "Not acceptable",
        "The `Accept` header admits none of the types that this route can answer with. Change "
        "it, or choose with the query parameter `format`, which has precedence.",
        "Accept admits none of image/png, application/json",
    ),
    errors.BodyTooLargeError: Problem(
        413,
        "body-too-large",
        "Body too large",
        "The request body, or an image of a batch, has more bytes than "
        "`LESION_MAX_BODY_BYTES`, or the body of a batch more than `LESION_MAX_BATCH_BYTES`. It is "
        "refused before it is read to its end.",
        "the body has more than 20000000 bytes, the limit",
    ),
    errors.HeadTooSlowError: Problem(
        408,
        "head-too-slow",
        "Head too slow",
        "The request line and the headers did not come whole within `LESION_HEADER_SECONDS`. The "
        "connection is closed.",
        "the head was not whole after 10 s, the limit",
    ),
    errors.BodyTooSlowError: Problem(
        408,
        "body-too-slow",
        "Body too slow",
        "The request body did not come whole within `LESION_BODY_SECONDS`, or nothing of it came "
        "for `LESION_BODY_IDLE_SECONDS`.",
        "no byte of the body came for 10 s, the limit",
    ),
    errors.TooManyPixelsError: Problem(
        413,
        "too-many-pixels",
        "Too many pixels in all",
        "The images and masks of the request have more pixels in all than "
        "`LESION_MAX_REQUEST_PIXELS`. Send them in several requests.",
        "the request has 1200000000 pixels in all, the limit is 1000000000",
    ),
    model_errors.ImageTooLargeError: Problem(
        413,
        "image-too-large",
        "Image too large",
        "The image has more pixels than `LESION_MAX_IMAGE_PIXELS`. Its header says so; it was "
        "never decoded. Send a smaller one.",
        "the image has 13000x13000 = 169000000 pixels, the limit is 50000000",
    ),
    model_errors.UnsupportedImageError: Problem(
        415,
        "unsupported-image",
        "Unsupported image type",
        "The file's first bytes, not its name or declared type, say that it is of a type which "
        "is not read here. Images are JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM "
        "(what of it is in docs/dicom.md); masks are PNG or COCO JSON. Camera raw, BigTIFF, "
        "packed files, base64 and TIFF pixels of unusual depth are named in `detail`, with what "
        "to do.",
        "found a GIF file, expected JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM",
    ),
    errors.UnsupportedMediaTypeError: Problem(
        415,
        "unsupported-media-type",
        "Unsupported media type",
        "The `Content-Type` of the body is not taken here. Send `multipart/form-data`, or to "
        "`/segment` the image itself as `image/jpeg` or the like. Nor is a `Content-Encoding` such "
        "as `gzip`: images are compressed already.",
        "Content-Type is 'application/json', expected multipart/form-data",
    ),
    model_errors.UnreadableImageError: Problem(
        422,
        "unreadable-image",
        "Unreadable image",
        "The file is empty, truncated or damaged. A partial image is never guessed at; what stands "
        "beside the pixels (text, previews, odd EXIF, a missing end marker) is passed over.",
        "the JPEG file is truncated or damaged and cannot be decoded",
    ),
    model_errors.MultiFrameImageError: Problem(
        422,
        "multi-frame-image",
        "Several frames or pages",
        "The file is an animation or has several pages or frames. Send the one image that is "
        "meant. TIFF pages marked as reduced or as mask of another are passed over.",
        "the TIFF file has several pages, expected one image",
    ),
    model_errors.InvalidMaskError: Problem(
        422,
        "invalid-mask",
        "Invalid mask",
        "A mask PNG must have one channel with two levels, such as 0 and 255, of which the higher "
        "is lesion. Masks saved as JPEG or resized with smoothing have values between: cut them at "
        "128 first. A palette whose colours contradict its indices is refused.",
        "pair 0: truth: the mask holds 3 values (0, 128, 255), expected two, such as 0 and 255",
    ),
    model_errors.InvalidRleError: Problem(
        422,
        "invalid-rle",
        "Invalid run-length mask",
        "The JSON does not describe one mask as COCO does: run lengths, of which `size` is "
        "[height, width] and `counts` are column-major runs, compressed or not, that add up to "
        "height times width; or polygons `[[x, y, x, y, ...]]` in pixels, with `image` (height and "
        "width) where nothing else tells their image's size. Of a whole data set send the "
        "annotation of the image alone; GeoJSON is not read.",
        "pair 0: pred: counts add up to 11 pixels, size says 12",
    ),
    model_errors.ShapeMismatchError: Problem(
        422,
        "shape-mismatch",
        "Masks differ in size",
        "Both masks of a pair must have the same height and width; the truth of an image those "
        "of the upright image, its EXIF orientation applied.",
        "pair 0: truth is (600, 800), pred is (768, 1024)",
    ),
    errors.HeadTooLargeError: Problem(
        431,
        "head-too-large",
        "Head too large",
        "The request line and the headers have more bytes than `LESION_MAX_HEADER_BYTES`, or there "
        "are more than 100 headers. The connection is closed.",
        "the head has more than 32768 bytes, the limit",
    ),
    errors.RateLimitedError: Problem(
        429,
        "rate-limited",
        "Too many requests of this caller",
        "Requests with this API key (without keys: from this address) come faster than "
        "`LESION_RATE_LIMIT` allows. Try again after the `Retry-After` header's number of seconds.",
        "more than 5 requests a second, with at most 20 at once; try again in 1 s",
        retry_after_s=1,
    ),
    model_errors.CorruptVersionError: Problem(
        503,
        "corrupt-version",
        "Version fails its checks",
        "The stored version does not pass its own checks, or is not signed by whom the operator "
        "trusts, and is not served. The operator has to publish or promote another one.",
        "lesion-unet/1.2.0 lacks the file model.safetensors",
        retry_after_s=60,
    ),
    model_errors.RegistryUnavailableError: Problem(
        503,
        "registry-unavailable",
        "Registry cannot be reached",
        "The store of the model versions does not answer, so what is not loaded yet cannot be had. "
        "The versions that are loaded go on answering.",
        "s3://models cannot be reached: EndpointConnectionError",
        retry_after_s=30,
    ),
    errors.NotReadyError: Problem(
        503,
        "not-ready",
        "Not ready",
        "No model is loaded, the network is stuck or failing, or the service is starting or stops.",
        "no model is loaded yet",
        retry_after_s=2,
    ),
    errors.EngineFailedError: Problem(
        503,
        "engine-failed",
        "The network failed",
        "The network broke off while it ran this image, which is not the image's fault. "
        "After three times in a row the process ends, to be started again. The log says why.",
        "the network failed; try again",
        retry_after_s=5,
    ),
    errors.DecoderFailedError: Problem(
        503,
        "decoder-failed",
        "The decoder was ended",
        "The process that decoded this image was ended from outside, for want of memory or "
        "by the operator, and another takes its place. A file that breaks it is answered 422.",
        "the process that decoded the image was ended; try again",
        retry_after_s=1,
    ),
    errors.DeadError: Problem(
        503,
        "dead",
        "To be killed",
        "`/healthz` alone says so: the network is stuck or failing, and the process ends with exit "
        "code 3, for another to be started in its place.",
        "the network is stuck; start another process",
        retry_after_s=30,
    ),
    errors.QueueFullError: Problem(
        503,
        "queue-full",
        "Queue full",
        "`LESION_MAX_QUEUE` requests are being worked on or waiting, or they have as many pixels "
        "(`LESION_MAX_PIXELS_IN_FLIGHT`) or bytes (`LESION_MAX_BUFFERED_BYTES`) as are allowed at "
        "once, or as many connections are open (`LESION_MAX_CONNECTIONS`). Try again after the "
        "`Retry-After` header's number of seconds: by then they are answered at the current rate.",
        "64 requests are being worked on, the limit is 64",
        retry_after_s=1,
    ),
    errors.OverloadedError: Problem(
        503,
        "overloaded",
        "Overloaded",
        "At the current rate the answer would take more than 60 % of `LESION_DEADLINE_SECONDS`, so "
        "it is refused at once. Try again after the `Retry-After` header's number of seconds.",
        "an answer would take about 7.5 s, the limit is 6 s",
        retry_after_s=1,
    ),
    errors.StorageUnavailableError: Problem(
        503,
        "storage-unavailable",
        "Corrections cannot be kept now",
        "The folder or bucket of the corrections cannot be reached, read or written. Nothing of "
        "the correction was kept; the log says why. Send it again later.",
        "the correction was not kept: Permission denied",
        retry_after_s=30,
    ),
    errors.LabelStudioError: Problem(
        503,
        "label-studio-unavailable",
        "Label Studio gives no photograph",
        "Label Studio (`LESION_LABEL_STUDIO_URL`) does not answer, or refuses the photographs of "
        "its tasks to the user whose token the service has (`LESION_LABEL_STUDIO_TOKEN`).",
        "Label Studio does not answer: ConnectError",
        retry_after_s=10,
    ),
    errors.DeadlineError: Problem(
        504,
        "deadline-passed",
        "Deadline passed",
        "The request was let in, but not answered within `LESION_DEADLINE_SECONDS` (an evaluation: "
        "`LESION_EVALUATION_SECONDS`). What was left of its work is dropped. Send less at once.",
        "no answer within 10 s, the limit",
    ),
    errors.StorageFullError: Problem(
        507,
        "storage-full",
        "No room for corrections",
        "The disk that corrections are kept on is full. Nothing of the correction was kept; send "
        "it again once the operator has made room.",
        "the correction was not kept: No space left on device",
    ),
}

BY_SLUG = {problem.slug: problem for problem in (*PROBLEMS.values(), INTERNAL)}


def problem_of(error: model_errors.SegmentationError) -> Problem:
    """Return the problem of an error's class, else that of its nearest base class."""
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), INTERNAL)
