"""From a photograph's bytes to a mask's PNG around one engine, in three steps: what peers serve.

`PilSteps` is what people write: Pillow at full size, NumPy, Pillow again. It keeps to the version's
preprocessing and threshold, but neither tidies the mask nor turns the photograph upright.
"""

import io
from typing import Any, Protocol

import numpy as np
from PIL import Image as Pillow

from benchmarks.engines import NullBackend, open_version
from benchmarks.peers.options import ENGINE, PeerOptions
from model_core.arrays import Batch, Image, Logits
from model_core.backends.protocol import Backend
from model_core.card import Card
from model_core.masks.png import encode_mask
from model_core.processing.postprocess import logit
from model_core.registry.registry import LoadedVersion, Registry


class Steps(Protocol):
    """One way to go from bytes to bytes; the same engine within each."""

    @property
    def backend(self) -> str:
        """The engine's name."""

    def before(self, data: bytes) -> tuple[Image, Any]:
        """Network input uint8 (S, S, 3), and what `after` needs to know of the photograph."""

    def network(self, batch: Batch) -> Logits:
        """Logits float32 (N, S, S) of uint8 (N, S, S, 3); from one thread at a time."""

    def after(self, logits: Logits, known: Any) -> bytes:
        """A PNG, 8 bit, of the photograph's size, from logits float32 (S, S)."""


class PilSteps:
    """As people write it."""

    def __init__(self, card: Card, engine: Backend) -> None:
        self._size = card.preprocess.size
        self._cut = logit(card.postprocess.threshold)
        self._engine = engine
        self.backend = engine.name

    def before(self, data: bytes) -> tuple[Image, Any]:
        """Decode at full size and squash."""
        photograph = Pillow.open(io.BytesIO(data)).convert("RGB")
        square = photograph.resize((self._size, self._size), Pillow.Resampling.BILINEAR)
        return np.array(square), photograph.size

    def network(self, batch: Batch) -> Logits:
        """The engine."""
        return self._engine.run(batch)

    def after(self, logits: Logits, known: Any) -> bytes:
        """Enlarge the logits, cut, and let Pillow write them."""
        full = Pillow.fromarray(logits).resize(known, Pillow.Resampling.BILINEAR)
        mask = (np.asarray(full) > self._cut).astype(np.uint8) * 255
        out = io.BytesIO()
        Pillow.fromarray(mask).save(out, format="PNG")
        return out.getvalue()


class OurSteps:
    """This repository's predictor and encoder."""

    def __init__(self, version: LoadedVersion) -> None:
        self._predictor = version.predictor
        self.backend = version.predictor.backend.name

    def before(self, data: bytes) -> tuple[Image, Any]:
        """Decode at reduced scale, resize."""
        prepared = self._predictor.prepare(data)
        return prepared.pixels, prepared.geometry

    def network(self, batch: Batch) -> Logits:
        """The engine."""
        return self._predictor.infer(batch)

    def after(self, logits: Logits, known: Any) -> bytes:
        """Tidy, bring back, encode."""
        return encode_mask(self._predictor.finish(logits, known).mask)


def open_steps(options: PeerOptions, *, network: bool = True) -> Steps:
    """The steps that the options name, around the version they name.

    Args:
        options: Of the peer.
        network: Whether this process runs the network; one that does not need not load it.
    """
    if options.steps == "pil" and not network:
        registry = Registry(options.registry)
        card, _ = registry.card(options.name, registry.resolve(options.name, options.version))
        return PilSteps(card, NullBackend(card.preprocess.size))
    version = open_version(
        options.registry, options.name, options.version, options.engine, threads=options.threads
    )
    engine = version.predictor.backend
    if network:
        print(f"{ENGINE}{engine.name}", flush=True)
    return OurSteps(version) if options.steps == "ours" else PilSteps(version.card, engine)


def segment(steps: Steps, data: bytes) -> bytes:
    """Run the three steps in a row, for one photograph."""
    pixels, known = steps.before(data)
    return steps.after(steps.network(pixels[None])[0], known)
