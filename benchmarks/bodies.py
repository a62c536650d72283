"""What is sent: drawn photographs of the size of a dermatoscope's, or real ones from a folder."""

import io
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from model_core.errors import ConfigError

BOUNDARY = "benchmark-3c9a1f"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
HEIGHT, WIDTH, QUALITY = 768, 1024, 90
DRAWN = 8
MAX_PHOTOGRAPHS = 64
"""More would only fill the generator's memory."""


def draw_photograph(seed: int, *, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """JPEG bytes of a drawn dark lesion on skin, with the noise that real JPEGs are full of.

    Args:
        seed: The same seed draws the same lesion.
        height: Rows, px.
        width: Columns, px.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / height
    down = rows - rng.uniform(0.4, 0.6)
    right = columns - width / height * rng.uniform(0.4, 0.6)
    angle = np.arctan2(down, right)
    radius = rng.uniform(0.18, 0.3) + 0.02 * np.sin(5 * angle) + 0.01 * np.cos(11 * angle)
    cover = 1 / (1 + np.exp((np.hypot(down, right) - radius) / 0.01))[..., None]
    coarse = rng.normal(0, 8, (height // 16 + 1, width // 16 + 1)).astype(np.float32)
    texture = np.asarray(Pillow.fromarray(coarse).resize((width, height)))[..., None]
    skin, pigment = np.array([214, 160, 140]), np.array([86, 52, 44])
    colours = skin + (pigment - skin) * cover + texture + rng.normal(0, 4, (height, width, 3))
    out = io.BytesIO()
    picture = Pillow.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    picture.save(out, format="JPEG", quality=QUALITY)
    return out.getvalue()


def photographs(folder: Path | None, *, limit: int = MAX_PHOTOGRAPHS) -> list[bytes]:
    """The photographs of a run: the folder's JPEGs (at most `limit`, evenly spread), or drawn ones.

    Raises:
        ConfigError: the folder has none.
    """
    if folder is None:
        return [draw_photograph(seed) for seed in range(DRAWN)]
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise ConfigError(f"{folder} holds no .jpg, expected a folder of photographs")
    step = max(1, len(found) // limit)
    return [path.read_bytes() for path in found[::step][:limit]]


def part(field: str, name: str, content: bytes) -> bytes:
    """A file as one field of a form, without the form's end."""
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + content + b"\r\n"


def multipart(photograph: bytes) -> bytes:
    """A photograph as the form field `image`, as `curl -F image=@...` sends it."""
    return part("image", "lesion.jpg", photograph) + f"--{BOUNDARY}--\r\n".encode()
