"""Kernels for a CPU, compiled on the machine that runs them: `torch.ops.rethink`, see kernels.cpp.

They need a C++ compiler and ninja, and some ten seconds once. The result is in the cache folder, under a hash of the
source, the compiler and this processor's instruction sets. Without a compiler, or with `RETHINK_NATIVE=0`, the engine
runs on torch's own operators.
"""

import functools
import hashlib
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock

from train.files.cache_dir import cache_dir

_SOURCE = Path(__file__).with_name("kernels.cpp")
_LIBRARY = "rethink_kernels"
_FLAGS = ["-O3", "-march=native", "-ffast-math", *(["-fopenmp"] if platform.system() == "Linux" else [])]


@functools.cache
def available() -> bool:
    """Whether `torch.ops.rethink` exists: loads it, and compiles it first if needed. Warns, once, if that fails."""
    if os.environ.get("RETHINK_NATIVE", "1") == "0" or platform.system() not in ("Linux", "Darwin"):
        return False
    try:
        library = cache_dir() / "kernels" / _key() / f"{_LIBRARY}.so"
        if not library.exists():
            _compile(library)
        torch.ops.load_library(str(library))
    except Exception as error:  # a compiler can fail in any way, and rollouts are only slower without
        lines = str(error).strip().splitlines() or [""]
        reason = next((line for line in lines[1:] if "error" in line or "not found" in line), lines[0])
        warnings.warn(
            "The rollout engine's CPU kernels could not be compiled, or not loaded, so it runs on torch's operators, "
            f"at about half the speed ({type(error).__name__}: {reason}). They need a C++ compiler, such as g++, and "
            "ninja; RETHINK_NATIVE=0 turns them off and this warning with them.",
            stacklevel=2,
        )
        return False
    return True


def _compile(library: Path) -> None:
    """Compile `library`. Another process that needs it waits, and takes over where the first was killed."""
    from torch.utils import cpp_extension  # takes a moment, and is not needed where the library is there

    library.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_suffix(".lock")):
        if library.exists():
            return
        with tempfile.TemporaryDirectory(dir=library.parent) as folder, _on_path(Path(sys.executable).parent):
            cpp_extension.load(
                _LIBRARY, [str(_SOURCE)], extra_cflags=_FLAGS, is_python_module=False, build_directory=folder
            )
            # It is loaded already, from the temporary folder: a library stays mapped when its file moves.
            os.replace(Path(folder) / f"{_LIBRARY}.so", library)


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Add `folder` to the search path of programs: ninja is beside the interpreter of an inactive environment."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([before, str(folder)])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _key() -> str:
    """What the library depends on: its source, the compiler's path, torch, and this processor's instruction sets."""
    parts = [_SOURCE.read_text(), " ".join(_FLAGS), torch.__version__, os.environ.get("CXX", "c++"), _abilities()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _abilities() -> str:
    """The instruction sets of this processor: a cache folder may be shared by machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
