"""What Schemathesis has to be told of this API: what a photograph is, and what a mask."""

import schemathesis
from hypothesis import strategies as st

from tests.fixtures.pictures import encode, lesion

SIZE = (24, 32)
# Black and white: as good a photograph as any to the service, and the only kind of mask.
FILE = encode(lesion(*SIZE).convert("L").point(lambda level: 255 * (level < 100)))
PHOTOGRAPHS = {
    kind: encode(lesion(*SIZE), kind.upper()) for kind in ("jpeg", "tiff", "bmp", "webp")
}

for kind, data in PHOTOGRAPHS.items():
    schemathesis.openapi.media_type(f"image/{kind}", st.just(data))
schemathesis.openapi.media_type("image/png", st.just(FILE))
schemathesis.openapi.media_type(
    "application/octet-stream", st.sampled_from([FILE, *PHOTOGRAPHS.values()])
)
schemathesis.openapi.format("binary", st.just(FILE))  # the fields of forms
