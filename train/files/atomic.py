"""Files that are there whole or not at all: written beside under another name, then renamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"  # what is being written is `.NAME.partial`, which readers of the folder pass over


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the context ends without an error."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
