"""The ISIC challenge's archives, fetched from their public storage and unpacked.

    python -m trainer prepare --download isic2018 --out data/isic2018

What breaks off, or is killed, goes on where it stopped when the command is run again.
"""

import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx

from model_core.errors import DatasetError
from trainer.data.download.fetch import (
    TIMEOUT_S,
    FetchError,
    bytes_of,
    fetch,
    part_of,
    readable_bytes,
    size_of,
)
from trainer.data.download.unpack import unpack

# Where the challenge's own page links to: github.com/ImageMarkup/stade, stade/core/templates/data/
# 2016.html at 808c94b and 2017.html at c3749f6. Older links, 2018.html at bc36a40 among them, lead
# to the same files at https://isic-challenge-data.s3.amazonaws.com.
ISIC_STORAGE = "https://isic-archive.s3.amazonaws.com/challenges"

# Task 1 (lesion segmentation) of each year, named as in those three pages, which give it the
# licence CC-0; a year has about 1 GB, 13 GB and 14 GB.
ARCHIVES = {
    "isic2016": (
        "2016/ISBI2016_ISIC_Part1_Training_GroundTruth.zip",
        "2016/ISBI2016_ISIC_Part1_Training_Data.zip",
        "2016/ISBI2016_ISIC_Part1_Test_GroundTruth.zip",
        "2016/ISBI2016_ISIC_Part1_Test_Data.zip",
    ),
    "isic2017": (
        "2017/ISIC-2017_Training_Part1_GroundTruth.zip",
        "2017/ISIC-2017_Training_Data.zip",
        "2017/ISIC-2017_Validation_Part1_GroundTruth.zip",
        "2017/ISIC-2017_Validation_Data.zip",
        "2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip",
        "2017/ISIC-2017_Test_v2_Data.zip",
    ),
    "isic2018": (
        "2018/ISIC2018_Task1_Training_GroundTruth.zip",
        "2018/ISIC2018_Task1-2_Training_Input.zip",
        "2018/ISIC2018_Task1_Validation_GroundTruth.zip",
        "2018/ISIC2018_Task1-2_Validation_Input.zip",
        "2018/ISIC2018_Task1_Test_GroundTruth.zip",
        "2018/ISIC2018_Task1-2_Test_Input.zip",
    ),
}


def download(
    edition: str, folder: Path, *, base_url: str = ISIC_STORAGE, backoff_s: float = 1.0
) -> Path:
    """Fetch and unpack what an edition's folder lacks, in the official layout.

    Each archive becomes a folder of its own name and is deleted once unpacked. A folder or an
    archive that is there already counts as whole, because both get their names only then; with
    nothing lacking, no server is asked.

    Args:
        edition: A key of `ARCHIVES`.
        folder: Made where absent; it needs room for the photographs and for the largest archive.
        base_url: Storage that holds `<year>/<archive>.zip`, http or https.
        backoff_s: Pause after a broken connection, s; doubled after each one in a row.

    Returns:
        `folder`, as the edition's reader in `trainer.data.layouts` takes it.

    Raises:
        DatasetError: unknown edition or storage, too little room, an archive that cannot be
            fetched (the text says what is kept), is damaged or is not safe to unpack.
    """
    if edition not in ARCHIVES:
        raise DatasetError(f"no download named {edition}, expected one of {', '.join(ARCHIVES)}")
    _check_url(base_url)
    folder.mkdir(parents=True, exist_ok=True)
    urls = {
        folder / PurePosixPath(name).name: f"{base_url.rstrip('/')}/{name}"
        for name in ARCHIVES[edition]
    }
    try:
        _complete(urls, folder, backoff_s)
    except FetchError as exc:
        raise DatasetError(f"{exc}; {_kept(urls, folder)}") from exc
    return folder


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna"))
    except ValueError:  # such as an unfinished IPv6 address, or a label of 64 letters
        usable = False
    if not usable:
        raise DatasetError(f"cannot download from {url}, expected an http or https URL")


def _complete(urls: dict[Path, str], folder: Path, backoff_s: float) -> None:
    lacking = {archive: url for archive, url in urls.items() if not _unpacked(archive).is_dir()}
    # All sizes first: too little room for the last archive is said before hours spent on the first.
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as client:
        sizes = {
            archive: bytes_of(archive) or size_of(client, url, backoff_s=backoff_s)
            for archive, url in lacking.items()
        }
        _check_room(sizes, folder)
        for archive, url in lacking.items():
            if not archive.is_file():
                fetch(client, url, archive, size_bytes=sizes[archive], backoff_s=backoff_s)
            unpack(archive, _unpacked(archive))
            archive.unlink()


def _unpacked(archive: Path) -> Path:
    return archive.with_suffix("")


def _check_room(sizes: dict[Path, int], folder: Path) -> None:
    """Require room for every archive unpacked, and for the largest one packed beside them.

    JPEG and PNG files hardly shrink in a ZIP file, so both are taken to be of the same size;
    `unpack` checks again, with the sizes the archive itself declares.
    """
    here = sum(bytes_of(archive) + bytes_of(part_of(archive)) for archive in sizes)
    needed = sum(sizes.values()) + max(sizes.values(), default=0) - here
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder} needs about {readable_bytes(needed)} more to download and unpack "
            f"{len(sizes)} archives, its disk has {readable_bytes(free)} free"
        )


def _kept(urls: dict[Path, str], folder: Path) -> str:
    """Say what running the command again will not fetch again."""
    whole = sum(archive.is_file() or _unpacked(archive).is_dir() for archive in urls)
    begun = sum(bytes_of(part_of(archive)) for archive in urls)
    return (
        f"{whole} of {len(urls)} archives and {readable_bytes(begun)} of the next are kept in "
        f"{folder}, and running it again goes on from there"
    )
