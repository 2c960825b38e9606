"""Paths as users write them: `~` is their home folder, also where no shell reads it, as in a config."""

from pathlib import Path


def user_path(text: str) -> Path:
    """The path that `text` stands for. Raises ValueError where it begins with `~` and the name of no user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(
            f"the path {text!r} begins with the home folder of a user whom this machine does not know; write it out, "
            "or begin with ./ where a folder has that name."
        ) from None
