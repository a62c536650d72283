"""Define every error that this project raises on purpose.

SegmentationError
├── InputError                  the caller can fix it
│   ├── UnsupportedImageError       a file type we do not read
│   ├── UnreadableImageError        the type is right, the bytes are not
│   ├── MultiFrameImageError        several frames or pages where one is expected
│   ├── ImageTooLargeError          more pixels than the limit
│   ├── InvalidMaskError            a mask that is not one binary channel
│   ├── InvalidRleError             run lengths or polygons that do not describe a mask
│   ├── ShapeMismatchError          two masks (or a mask and an image) differ in size
│   ├── DatasetError                a dataset folder or manifest that does not add up
│   └── ConfigError                 a setting that cannot be used
└── ModelError                  the operator can fix it
    ├── VersionNotFoundError        no such version or alias in the registry
    ├── VersionExistsError          versions are immutable, this one is taken
    ├── CorruptVersionError         hash, card, weights or golden test do not agree
    ├── RegistryUnavailableError    the registry is at a URL that cannot be reached
    └── GateError                   a run whose held-out scores are too low, or not of its weights
"""


class SegmentationError(Exception):
    """Base of all errors of this project; its text says what was found and what was expected."""


class InputError(SegmentationError):
    """The caller's data or parameters cannot be used as they are."""


class UnsupportedImageError(InputError):
    """The bytes are of a type that is not read here."""


class UnreadableImageError(InputError):
    """The bytes claim a type we read, but cannot be decoded."""


class MultiFrameImageError(InputError):
    """The file holds an animation or several pages; one image is expected."""


class ImageTooLargeError(InputError):
    """The image holds more pixels than the limit allows."""


class InvalidMaskError(InputError):
    """The mask is not a single channel of two levels."""


class InvalidRleError(InputError):
    """The run lengths or polygons do not describe a mask of their stated size."""


class ShapeMismatchError(InputError):
    """Two arrays that must share height and width do not."""


class DatasetError(InputError):
    """A dataset folder or manifest is incomplete or contradicts itself."""


class ConfigError(InputError):
    """A configuration value is unknown, out of range or contradicts another."""


class ModelError(SegmentationError):
    """The registry or a stored model version is not as it should be."""


class VersionNotFoundError(ModelError):
    """The registry holds no such version or alias."""


class VersionExistsError(ModelError):
    """The version is already published, and published versions never change."""


class CorruptVersionError(ModelError):
    """A stored version fails its own checks and must not serve."""


class RegistryUnavailableError(ModelError):
    """The registry's store cannot be reached or refuses us; trying again later may help."""


class GateError(ModelError):
    """The run's held-out scores miss the gate for publishing, or are not of its weights."""


def check_pixels(what: str, height: int, width: int, limit: int) -> None:
    """Refuse an image larger than a limit, before anything is decoded or allocated.

    Raises:
        ImageTooLargeError: the image, which the text calls `what`, has more pixels.
    """
    if height * width > limit:
        raise ImageTooLargeError(
            f"the {what} has {width}x{height} = {height * width} pixels, the limit is {limit}"
        )


def damaged_file(kind: str, reason: str) -> UnreadableImageError:
    """Make the error for a file of a type that is read, whose pixels are missing or damaged."""
    return UnreadableImageError(
        f"the {kind} file is truncated or damaged: {reason}, expected a whole file"
    )


def undecodable(what: str) -> UnreadableImageError:
    """Make the error for bytes in which a decoder, or the walk over them, met what cannot be."""
    return UnreadableImageError(f"the {what} is truncated or damaged and cannot be decoded")
