"""Loading a model and its tokenizer by name: `smollm2-135m`, a local checkpoint, a PEFT adapter, or a hub id.

Weights come from safetensors only, so nothing is unpickled, and no code from a checkpoint is run.
"""

import json
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from train import smollm2

ADAPTER = "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


class ModelError(ValueError):
    """A model or tokenizer could not be loaded; the message is one line with the name and what to do."""


def resolve(name: str) -> str:
    """The local folder or hub id that `name` stands for; `smollm2-135m` is fetched and converted if need be.

    Raises ModelError where a local path is no complete checkpoint, or nothing of that name can be.
    """
    if name == smollm2.NAME:
        try:
            return str(smollm2.smollm2_path())
        except smollm2.SmolLM2Error as error:
            raise ModelError(str(error)) from error
    path = Path(name).expanduser()
    if path.exists():
        _check_checkpoint(path)
        return str(path)
    if not _could_be_hub_id(name):
        raise ModelError(f"no such model: the path {name!r} does not exist.")
    return name


def is_complete_checkpoint(path: str | Path) -> bool:
    """Whether `path` is a folder with a model, or a PEFT adapter, and all of its safetensors files."""
    try:
        _check_checkpoint(Path(path))
    except ModelError:
        return False
    return True


def load_model(
    name: str, *, dtype: torch.dtype = torch.float32, revision: str | None = None, is_trainable: bool = False
) -> PreTrainedModel | PeftModel:
    """The causal language model called `name`, in `dtype`, on the CPU, in evaluation mode.

    A folder with a PEFT adapter gives its base model with the adapter on it, frozen unless `is_trainable`. `revision`
    is a branch, tag or commit of a hub id. Raises ModelError.
    """
    source = resolve(name)
    if (Path(source) / ADAPTER).is_file():
        return _load_adapter(Path(source), dtype, is_trainable)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(_failure("model", name, source, error)) from error
    if missing := sorted(info["missing_keys"]):  # transformers would leave these at random values, with a warning
        raise ModelError(
            f"{name}: {len(missing)} weights of the model are not in its files, the first is {missing[0]}."
        )
    return model


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer called `name`, which is sure to have a chat template and an end-of-sequence token.

    One without a padding token pads with its end-of-sequence token, as TRL does: so take masks from lengths, never
    from ids. Raises ModelError.
    """
    source = resolve(name)
    folder = Path(source)
    if folder.is_dir() and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(f"{name} has no tokenizer ({_contents(folder)}); save the tokenizer beside the model.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception on a file that it cannot read
        raise ModelError(_failure("tokenizer", name, source, error)) from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {name} has no end-of-sequence token; set eos_token in its config.")
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer of {name} has no chat template; take an instruct model, or set chat_template.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_adapter(folder: Path, dtype: torch.dtype, is_trainable: bool) -> PeftModel:
    """The base model that the adapter in `folder` names, with the adapter applied."""
    try:
        config = json.loads((folder / ADAPTER).read_text())
        base_name, revision = config["base_model_name_or_path"], config.get("revision")
        if Path(base_name).name == smollm2.NAME:  # its place in the cache of the machine that trained the adapter
            base_name = smollm2.NAME
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / ADAPTER} does not name a base model; is the file damaged?") from error
    try:
        base = load_model(base_name, dtype=dtype, revision=revision)
    except ModelError as error:
        raise ModelError(f"the base model of the adapter {folder} could not be loaded: {error}") from error
    try:
        return PeftModel.from_pretrained(base, folder, is_trainable=is_trainable)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(_failure("adapter", str(folder), str(folder), error)) from error


def _check_checkpoint(path: Path) -> None:
    """Raise ModelError unless `path` is a folder with a model or an adapter and all of its safetensors files."""
    if not path.is_dir():
        raise ModelError(f"{path} is no checkpoint: expected a folder with a model in it.")
    if (path / ADAPTER).is_file():
        stem = "adapter_model"
    elif (path / "config.json").is_file():
        stem = "model"
    else:
        raise ModelError(f"{path} is no checkpoint: no config.json nor {ADAPTER} in it ({_contents(path)}).")
    index = path / f"{stem}.safetensors.index.json"
    try:
        files = (
            set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {f"{stem}.safetensors"}
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{index} is damaged: {error}.") from error
    if missing := sorted(file for file in files if not (path / file).is_file()):
        raise ModelError(
            f"{path} is no complete checkpoint: {missing[0]} is missing ({_contents(path)}). Only safetensors are "
            f"read, never pickled weights."
        )


def _contents(folder: Path) -> str:
    """The first few names in a folder, for an error message."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return "it holds " + ", ".join(names[:8]) + ", ..." * (len(names) > 8) if names else "it is empty"


def _could_be_hub_id(name: str) -> bool:
    """Whether `name` has the form `model` or `owner/model`."""
    parts = name.split("/")
    return len(parts) <= 2 and all(part.strip() and part[0] not in ".~" for part in parts)


def _failure(what: str, name: str, source: str, error: Exception) -> str:
    """One line for a failed load: the error's own first line, and for a hub id what else may be wrong."""
    reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
    if Path(source).is_dir():
        return f"the {what} of {name} could not be loaded ({reason})"
    return (
        f"the {what} {name!r} could not be loaded: it is no folder here, and the model hub did not give it ({reason}). "
        f"Check the spelling and the network."
    )
