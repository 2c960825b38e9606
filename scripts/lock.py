"""Write the lock files that `make setup` installs from: every package of the default install, with version and hashes.

    pip install uv
    python scripts/lock.py

The versions come from constraints.txt; run this after a change there or in the dependencies of pyproject.toml. The
lists hold for Linux, macOS and Windows and for every Python from 3.11 on. `requirements-cpu.txt` is torch for Linux
without CUDA, which PyPI does not have; it is installed first if pip finds it on another index. `requirements-cuda.txt`
is what PyPI's build of torch for Linux needs besides `requirements.txt`.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = "# Written by scripts/lock.py; install with: pip install --no-deps --require-hashes -r {name}\n"
CUDA = re.compile(r"(?:nvidia|cuda)-|triton==")
# PyTorch's own builds for a CPU. The first one was hashed from the wheel itself; the others are the same in several
# independent projects' lock files.
TORCH = "2.13.0"
TORCH_FOR_A_CPU = {
    "cp311-manylinux_2_28_x86_64": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "cp312-manylinux_2_28_x86_64": "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    "cp313-manylinux_2_28_x86_64": "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    "cp314-manylinux_2_28_x86_64": "d20fa53ee744502fa4c69818a720b05ca0d37abd055d4f6e66cae155114bc691",
    "cp311-manylinux_2_28_aarch64": "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    "cp312-manylinux_2_28_aarch64": "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
    "cp313-manylinux_2_28_aarch64": "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",
    "cp314-manylinux_2_28_aarch64": "ca021f9eb2f8345c83fa03e3a04587308afb8df71bd472670b3ece00df58621c",
}


def main() -> int:
    """Write the files; returns the exit code."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--constraints", "constraints.txt", "--universal"]
    options = ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    try:
        output = subprocess.run([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    except FileNotFoundError:
        print("error: uv is not installed; run `pip install uv`.", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:  # uv has said why
        return error.returncode
    packages = re.split(r"\n(?=\S)", output.strip())
    if not any(package.startswith(f"torch=={TORCH} ") for package in packages):
        print(f"error: torch is no longer {TORCH}; put its builds for a CPU into scripts/lock.py.", file=sys.stderr)
        return 2
    hashes = [f"--hash=sha256:{digest}" for digest in TORCH_FOR_A_CPU.values()]
    for name, entries in (
        ("requirements-cpu.txt", [" \\\n    ".join([f"torch=={TORCH}+cpu ; sys_platform == 'linux'", *hashes])]),
        ("requirements.txt", [package for package in packages if not CUDA.match(package)]),
        ("requirements-cuda.txt", [package for package in packages if CUDA.match(package)]),
    ):
        (ROOT / name).write_text(HEADER.format(name=name) + "\n".join(entries) + "\n")
        print(f"{name}: {len(entries)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
