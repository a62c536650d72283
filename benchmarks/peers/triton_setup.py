"""Make the environment that Triton runs in: `python -m benchmarks.peers.triton_setup`.

PyTriton carries NVIDIA's server in its wheel and wants NumPy below 2, which nothing else here may
have. So it stands in a folder of this environment, and finds there all that it does not bring.
"""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "triton"
PYTHON = FOLDER / "bin" / "python"
PINS = Path(__file__).with_name("triton.txt")
MADE = FOLDER / ".made"
"""There once all is installed; holds what was."""
LOCK = (
    "import threading; from multiprocessing import resource_tracker; "
    'hasattr(threading.RLock(), "_recursion_count") '
    'or setattr(resource_tracker._resource_tracker, "_lock", threading._PyRLock())'
)
"""Gives the resource tracker a lock in Python, where the one in C is too old.

The server has an interpreter of Python 3.11.2 in it, and runs it on the library of the Python that
started it; that of 3.11.6 and later asks the lock what only its own interpreter's knows
(github.com/triton-inference-server/pytriton/issues/51).
"""


def is_made() -> bool:
    """Tell whether the environment is there, with what is to be in it."""
    return MADE.is_file() and MADE.read_text() == PINS.read_text()


def make() -> None:
    """Create the virtual environment, in place of one that is there.

    Raises:
        CalledProcessError: `venv` or `pip` failed.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--requirement", PINS], check=True)
    (packages,) = FOLDER.glob("lib/python*/site-packages")
    add_paths(packages)
    MADE.write_text(PINS.read_text())


def add_paths(packages: Path) -> None:
    """Have the Python of a `site-packages` look here for what is not there, and mend its lock."""
    outer = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "outer.pth").write_text("\n".join([*outer, LOCK]) + "\n")


def main() -> int:
    """Make it where it is not there.

    Returns:
        0; 1 where it cannot be made.
    """
    if is_made():
        return 0
    print(f"Making {FOLDER} for Triton.")
    try:
        make()
    except subprocess.CalledProcessError as exc:
        print(f"Triton could not be installed ({exc}): its rows will be empty.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
