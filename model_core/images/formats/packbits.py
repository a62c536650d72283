"""Whether bytes packed as PackBits (TIFF, DICOM's RLE) hold more than they should."""

from PIL import Image as Pillow


def holds_more(packed: bytes, most: int) -> bool:
    r"""Whether they unpack to more than `most` bytes, as they do where damage shifted their runs.

    Decoders stop at the pixels asked for, so only too few are an error there.

    Example:
        >>> holds_more(b"\2abc", 2), holds_more(b"\2abc", 3)
        (True, False)
    """
    try:
        Pillow.frombytes("L", (most + 1, 1), packed, "packbits", "L")
    except (ValueError, OSError):
        return False
    return True
