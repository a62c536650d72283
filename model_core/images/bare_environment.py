"""The environment of a process that decodes what strangers send."""

import os

_PASSED = frozenset(
    {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV"}
)


def bare_environment() -> dict[str, str]:
    """What an interpreter needs to start, and nothing that a broken decoder could give away.

    Keys of buckets and settings of the service stay behind. Numerical libraries run on one thread:
    each of theirs would reserve memory.

    Example:
        >>> os.environ["AWS_SECRET_ACCESS_KEY"] = "not for a decoder"
        >>> "AWS_SECRET_ACCESS_KEY" in bare_environment()
        False
        >>> del os.environ["AWS_SECRET_ACCESS_KEY"]
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith("PYTHON")
    }
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
