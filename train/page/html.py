"""The base of every page: templates that escape, and a policy that lets only our own script run."""

import base64
import hashlib
import os
from pathlib import Path

import jinja2
from markupsafe import Markup

HERE = Path(__file__).parent
STYLE = HERE / "style.css"


def environment(*folders: Path) -> jinja2.Environment:
    """Templates from `folders`, then from this one. Values are escaped, and a missing one is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, HERE]), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def own(file: Path) -> Markup:
    """The text of a style or script that is ours, put into a page as it is."""
    return Markup(file.read_text(encoding="utf-8"))


def write_page(path: Path, page: str) -> None:
    """Write a page whole, or not at all; a run and whoever watches it may do so at once."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def policy_hash(script: str) -> str:
    """The hash of the one script that a page's content policy allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
