"""Publish, load and name versions in a folder or a bucket: immutable, and verified on load.

    <root>/<name>/<version>/model.safetensors, card.json, golden.json, openvino/... (exports)
    <root>/<name>/<version>/model.sig                  where somebody signed it (`signatures`)
    <root>/<name>/aliases.json

`local_store` and `object_store` see to it that a crash leaves the old state or the new one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from model_core.backends.protocol import BackendName, Device
from model_core.backends.select import WEIGHTS
from model_core.card import (
    Card,
    check_name,
    is_name,
    is_version,
    parse_card,
    version_order,
)
from model_core.errors import ConfigError, CorruptVersionError, ModelError, VersionNotFoundError
from model_core.images.decode import MAX_PIXELS
from model_core.registry.aliases import FILE as ALIASES
from model_core.registry.aliases import Aliases, parse_aliases, split_reference
from model_core.registry.golden import FILE as GOLDEN
from model_core.registry.local_store import CARD, STAGING, LocalStore
from model_core.registry.object_store import open_store
from model_core.registry.private_copy import private_copy
from model_core.registry.signatures import FILE as SIGNATURE
from model_core.registry.signatures import find_signer, read_keys
from model_core.registry.version import LoadedVersion, fill_version, open_version

__all__ = ["ALIASES", "GOLDEN", "PRODUCTION", "SIGNATURE", "WEIGHTS", "LoadedVersion", "Registry",
           "split_reference"]  # fmt: skip

PRODUCTION = "production"


class Registry:
    """The versions below one folder or URL.

    Args:
        root: A folder (a reader's may be read-only) or any URL of fsspec, as `s3://bucket/models`.
        cache: Folder for copies of a URL's files; None for `$XDG_CACHE_HOME/lesion-models`, or
            `~/.cache/lesion-models`. They are verified on every load.
        signers: Public key, or folder of such, that is read at each load: then only versions that
            one of them signed are loaded. None checks no signature.

    Any method raises a RegistryUnavailableError where a URL cannot be reached, and a ConfigError
    where the library that it needs is not installed.
    """

    def __init__(
        self, root: Path | str, *, cache: Path | None = None, signers: Path | None = None
    ) -> None:
        self._root = root
        self._signers = signers
        self._store = open_store(root, cache)

    @property
    def root(self) -> Path:
        """The folder that the registry is in.

        Raises:
            ConfigError: the registry is at a URL.
        """
        if isinstance(self._store, LocalStore):
            return self._store.root
        raise ConfigError(f"{self._root} is no folder of this machine")

    def check(self) -> None:
        """Raise a ConfigError where there is no such folder or address."""
        self._store.check()

    def names(self) -> list[str]:
        """List the names of all models, sorted."""
        return [name for name in self._store.folders() if self.versions(name)]

    def versions(self, name: str) -> list[str]:
        """List the published versions of a model, oldest first; none where it is not there."""
        folders = self._store.holding(name, CARD) if is_name(name) else []
        return sorted(filter(is_version, folders), key=version_order)

    def aliases(self, name: str) -> dict[str, str]:
        """Read the aliases of a model, such as `{"production": "1.2.0"}`.

        Raises:
            CorruptVersionError: `aliases.json` is not such an object.
        """
        return dict(self._aliases(name).current)

    def history(self, name: str, alias: str = PRODUCTION) -> list[str]:
        """List where an alias pointed before, oldest first; raises as `aliases`."""
        return list(self._aliases(name).before.get(alias, []))

    def resolve(self, name: str, reference: str) -> str:
        """Find the version that a version or an alias stands for.

        Raises:
            VersionNotFoundError: neither; the text lists what there is.
        """
        aliases, versions = self.aliases(name), self.versions(name)
        version = aliases.get(reference, reference)
        if version in versions:
            return version
        if reference in aliases:
            raise VersionNotFoundError(
                f"the alias {reference!r} of {name} points to {version}, which is not there"
            )
        known = ", ".join([*sorted(aliases), *versions]) or "none"
        raise VersionNotFoundError(f"{name} has no version or alias {reference!r}; it has {known}")

    def card(self, name: str, version: str) -> tuple[Card, str]:
        """Read a version's card; give the SHA-256 of its bytes, too.

        Raises:
            VersionNotFoundError: no such version.
            CorruptVersionError: the card cannot be read, or is another version's.
        """
        missing = f"{name} has no version {version!r}"
        if not (is_name(name) and is_version(version)):
            raise VersionNotFoundError(missing)
        try:
            data = self._store.read(f"{name}/{version}/{CARD}")
        except OSError as exc:
            raise VersionNotFoundError(missing) from exc
        card = parse_card(data)
        if (card.name, card.version) != (name, version):
            raise CorruptVersionError(
                f"{name}/{version} holds the card of {card.name}/{card.version}"
            )
        return card, hashlib.sha256(data).hexdigest()

    def load(
        self,
        name: str,
        version: str,
        *,
        device: Device = "auto",
        backend: BackendName = "pytorch-fp32",
        max_pixels: int = MAX_PIXELS,
        again: bool = False,
    ) -> LoadedVersion:
        """Verify a version's hashes, build its network, and check it on its golden images.

        Args:
            name: Model name.
            version: Version, not an alias (`resolve` first).
            device: `auto` takes the GPU where there is one.
            backend: An engine by name; `auto` takes the fastest that passes the check. Float32,
                which the card's scores are of, unless asked otherwise.
            max_pixels: As `Predictor`.
            again: Read the registry itself, whatever the cache holds.

        Raises:
            VersionNotFoundError: no such version.
            CorruptVersionError: hashes, the weights or the golden mask do not agree (the text has
                every hash that does not), or no key that is trusted signed exactly this.
            ConfigError: the backend cannot run this version here.
        """
        path = f"{name}/{version}"
        card, sha256 = self.card(name, version)
        if missing := {WEIGHTS, GOLDEN} - set(card.files):
            raise CorruptVersionError(f"{CARD} lists no hash of {', '.join(sorted(missing))}")
        signer = self._signer(self._signers, path, card, sha256) if self._signers else None
        stored = self._store.fetch(path, card.files, sha256, again=again)
        # Who may write there could change a file between its check and its use.
        with private_copy(stored, card.files) if signer else nullcontext(stored) as folder:
            loaded = open_version(folder, card, sha256, device=device, backend=backend)
        # The operator's limit is for callers' images; the golden image may be above it.
        loaded.predictor.max_pixels = max_pixels
        return replace(loaded, folder=stored, signer=signer)

    def sign(self, name: str, version: str, make: Callable[[Path], bytes]) -> None:
        """Put a signature beside a version's files, in the place of an earlier one.

        Args:
            name: Model name.
            version: Version, not an alias.
            make: Signs all files of a folder, and gives the bytes of a `model.sig`.

        Raises:
            VersionNotFoundError: no such version.
            CorruptVersionError: its files are not those of its card.
        """
        path = f"{name}/{version}"
        card, sha256 = self.card(name, version)
        self._store.require_no_others(path, {CARD, SIGNATURE, *card.files})
        stored = self._store.fetch(path, card.files, sha256, again=True)
        with private_copy(stored, card.files, name=f"{name}@{version}") as folder:
            (folder / CARD).write_bytes(self._store.read(f"{path}/{CARD}"))
            signature = make(folder)
        self._store.replace(f"{path}/{SIGNATURE}", lambda _: signature)

    def _signer(self, trusted: Path, path: str, card: Card, sha256: str) -> str:
        """Find the trusted key that signed a version; the card's name and number are signed too."""
        try:
            keys = read_keys(trusted)
        except ConfigError as exc:  # the operator's to mend, not the caller's
            raise CorruptVersionError(f"no trusted key can be read: {exc}") from exc
        self._store.require_no_others(path, {CARD, SIGNATURE, *card.files})
        try:
            signature = self._store.read(f"{path}/{SIGNATURE}")
        except OSError as exc:
            raise CorruptVersionError(
                f"{path} is not signed: expected a {SIGNATURE} by one of {', '.join(keys)}, "
                f"found {exc.strerror or 'none'}"
            ) from exc
        return find_signer(signature, {**card.files, CARD: sha256}, keys)

    def verify(self, name: str, version: str) -> LoadedVersion:
        """Load a version on the CPU, from the registry itself; raises as `load`."""
        return self.load(name, version, device="cpu", again=True)

    def faults(self) -> Iterator[str]:
        """Yield everything that is wrong in the whole registry, one line each.

        Versions that fail `verify`, aliases that cannot be read or point nowhere, and what killed
        publishers left: it harms nobody, and may also be the work of one who is still at it.
        """
        for name in filter(is_name, self._store.folders()):
            versions = self.versions(name)
            for version in versions:
                try:
                    self.verify(name, version)
                except (ModelError, OSError) as exc:
                    yield f"{name} {version}: {exc}"
            try:
                for alias, version in self.aliases(name).items():
                    if version not in versions:
                        yield f"{name}: {alias} points to {version}, which is not there"
            except CorruptVersionError as exc:
                yield f"{name}: {exc}"
            for folder in self._store.folders(name):
                if folder.startswith(STAGING) or (is_version(folder) and folder not in versions):
                    yield f"{name}/{folder}: no {CARD}; a publisher is at work or was killed"

    def publish(
        self,
        card: Card,
        weights: Path,
        golden_image: bytes,
        *,
        more_golden_images: Sequence[bytes] = (),
        exports: Path | None = None,
        weights_sha256: str | None = None,
    ) -> LoadedVersion:
        """Freeze a new version, or change nothing at all.

        The golden mask is made here by the very weights that are stored, and the version is loaded
        with all its checks before it appears under its name.

        Args:
            card: The card, its `files` still empty.
            weights: File of `model_core.network.weights.save_weights`.
            golden_image: PNG bytes of a drawn image: no photograph of a person.
            more_golden_images: Further ones; faint and small lesions tell engines apart.
            exports: Folder whose files, those of its folders too, become part of the version under
                their relative names, such as `openvino/model.xml`.
            weights_sha256: Hash of the weights that were scored; None where it is not known.

        Returns:
            The version as it was loaded from the files that were then stored.

        Raises:
            VersionExistsError: the version is there already; versions are immutable.
            CorruptVersionError: the weights do not fit the card.
            GateError: the weights are not those that were scored.
            ConfigError: an export has the name of a file of ours.
        """
        path = f"{card.name}/{card.version}"
        with self._store.staging(path) as staged:
            loaded = fill_version(
                staged,
                card,
                weights,
                (golden_image, *more_golden_images),
                exports=exports,
                weights_sha256=weights_sha256,
            )
        return replace(loaded, folder=self._store.folder(path, loaded.sha256))

    def promote(self, name: str, version: str, *, alias: str = PRODUCTION) -> None:
        """Let an alias point to a version, in one atomic replacement.

        Raises:
            VersionNotFoundError: no such version.
            ConfigError: the alias is no name, or is a version number.
        """
        check_name(alias)
        if version not in self.versions(name):
            self.resolve(name, version)
            raise VersionNotFoundError(f"{version!r} is an alias; promote takes a version")
        path = f"{name}/{ALIASES}"
        self._store.replace(
            path, lambda data: parse_aliases(data, path).pointing(alias, version).dump()
        )

    def rollback(self, name: str, alias: str = PRODUCTION) -> str:
        """Let an alias point to where it did before; twice goes two steps back, as undo does.

        The version that it leaves is forgotten: a later rollback does not come back to it.

        Returns:
            The version that the alias points to now.

        Raises:
            VersionNotFoundError: the alias has no earlier version, or that one is gone.
            CorruptVersionError: the earlier version fails `verify`; the alias stays where it is,
                and `promote` moves it to one that is whole.
            ModelError: somebody else moved the alias meanwhile.
        """
        seen = self._aliases(name)
        if not seen.before.get(alias):
            raise VersionNotFoundError(
                f"{alias!r} of {name} has no earlier version to go back to; promote one"
            )
        wanted = seen.back(alias)
        self.verify(name, wanted.current[alias])
        path = f"{name}/{ALIASES}"

        def change(data: bytes | None) -> bytes:
            now = parse_aliases(data, path)
            if now.steps(alias) == wanted.steps(alias):  # a rollback at the same time
                return now.dump()
            if now.steps(alias) != seen.steps(alias):
                raise ModelError(f"somebody moved {alias!r} of {name} meanwhile; look again")
            return now.back(alias).dump()

        self._store.replace(path, change)
        return wanted.current[alias]

    def _aliases(self, name: str) -> Aliases:
        path = f"{name}/{ALIASES}"
        try:
            return parse_aliases(self._store.read(path) if is_name(name) else None, path)
        except FileNotFoundError:
            return Aliases()
