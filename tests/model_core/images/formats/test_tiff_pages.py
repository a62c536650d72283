"""Which picture of a TIFF is its photograph, and which files are camera raw."""

import numpy as np
import pytest

from model_core.errors import MultiFrameImageError, UnsupportedImageError
from model_core.images.announced_size import announced_pixels
from model_core.images.decode import decode_image
from tests.fixtures.pictures import encode, quarters
from tests.fixtures.tiffs import BLACK_IS_ZERO, MASK, MOSAIC, REDUCED, RGB, Page, tiff

PHOTO = quarters(40, 60)
ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
LINEAR_RAW, MASK_COLOURS = 34892, 4


def colour(size: tuple[int, int] = (40, 60), **tags: int) -> Page:
    """A page that shows the four quarters; tags as `t254=1`."""
    picture = PHOTO.resize(size[::-1])
    more = {int(tag[1:]): value for tag, value in tags.items()}
    return Page(size, [picture.tobytes()], {258: [8, 8, 8], 259: 1, 262: RGB, 277: 3, **more})


def sensor(size: tuple[int, int] = (80, 120), *, colours: int = MOSAIC, bits: int = 16) -> Page:
    body = bytes(size[0] * size[1] * 2)
    return Page(size, [body], {258: bits, 259: 1, 262: colours, 277: 1})


def below(page: Page, *children: Page) -> Page:
    page.children = list(children)
    return page


RAW = {
    "a preview before the sensor's values": [below(colour((20, 30), t254=REDUCED), sensor())],
    "two previews": [below(colour((20, 30), t254=REDUCED), colour(t254=REDUCED), sensor())],
    "a preview that is not marked": [below(colour(), sensor())],
    "no preview": [sensor()],
    "packed in a way of its maker": [Page((80, 120), [b"?"], {258: 14, 259: 34713, 262: MOSAIC})],
    "the preview behind": [sensor(), colour(t254=REDUCED)],
    "linear values": [below(colour((20, 30), t254=REDUCED), sensor(colours=LINEAR_RAW))],
}


@ORDERS
@pytest.mark.parametrize("name", RAW)
def test_a_camera_raw_file_is_refused_by_what_it_is(name: str, order: str) -> None:
    data = tiff(RAW[name], order)
    with pytest.raises(UnsupportedImageError, match="camera raw file"):
        decode_image(data)
    assert announced_pixels(data) == 0


def test_canons_raw_files_are_known_by_their_head() -> None:
    data = encode(PHOTO, "TIFF")
    with pytest.raises(UnsupportedImageError, match="camera raw file"):
        decode_image(data[:8] + b"CR\x02\0" + data[12:])


@ORDERS
@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([colour(), colour((8, 12), t254=REDUCED)], id="preview second"),
        pytest.param([colour((8, 12), t254=REDUCED), colour()], id="preview first"),
        pytest.param([colour((8, 12), t254=REDUCED), colour(), colour((4, 6), t254=REDUCED)],
                     id="between previews"),
        pytest.param([colour(), colour((8, 12), t255=2)], id="preview, marked the old way"),
        pytest.param([colour(), colour(t254=MASK)], id="mask"),
        pytest.param([colour(), colour(t254=MASK | REDUCED)], id="preview of a mask"),
        pytest.param([colour(), Page((40, 60), [bytes(320)], {258: 1, 259: 1, 262: MASK_COLOURS})],
                     id="mask by its colours"),
        pytest.param([below(colour((8, 12), t254=REDUCED), colour())], id="below its preview"),
        pytest.param([below(colour(), colour((20, 30), t254=REDUCED))], id="pyramid"),
        pytest.param([colour(t254=REDUCED)], id="marked as reduced, and all there is"),
    ],
)  # fmt: skip
def test_what_is_beside_the_photograph_is_passed_over(pages: list[Page], order: str) -> None:
    data = tiff(pages, order)
    assert np.array_equal(np.asarray(decode_image(data).picture), np.asarray(PHOTO))
    assert announced_pixels(data) == 2400


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([colour(), colour()], id="two"),
        pytest.param([colour(t254=2), colour(t254=2)], id="two pages of a document"),
        pytest.param([colour(), colour((8, 12), t254=REDUCED), colour()], id="third is another"),
        pytest.param([colour(t254=REDUCED), colour(t254=REDUCED)], id="previews alone"),
        pytest.param([below(colour((8, 12), t254=REDUCED), colour(), colour())], id="two below"),
    ],
)
def test_several_photographs_are_refused(pages: list[Page]) -> None:
    with pytest.raises(MultiFrameImageError, match="several pages"):
        decode_image(tiff(pages))


def test_a_chain_that_leads_back_or_out_of_the_file_ends() -> None:
    data = bytearray(tiff([colour()]))
    for following in (data[4:8], b"\xf0\xff\xff\x7f"):
        data[-4:] = following
        assert decode_image(bytes(data)).height == 40


def test_a_long_chain_costs_no_more_than_a_bounded_walk() -> None:
    pages = [colour((1, 1), t254=REDUCED, t262=BLACK_IS_ZERO) for _ in range(200)]
    with pytest.raises(MultiFrameImageError):
        decode_image(tiff(pages))
