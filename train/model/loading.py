"""Loading a model and its tokenizer by name: `smollm2-135m`, a local checkpoint, a PEFT adapter, or a hub id.

Weights come from safetensors only, so nothing is unpickled, and no code from a checkpoint is run.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data.paths import user_path
from train.files import checkpoints
from train.files.untrusted import MAX_JSON_BYTES, read_json
from train.model import smollm2
from train.model.adapter_files import differing_weights, refused_settings
from train.model.chat import TOKENIZERS_OWN, Chat, set_chat, suggestion
from train.model.prompts import opens_thinking
from train.model.template_time import check_time
from train.rollout.support import refuse_adapters

ADAPTER = "adapter_config.json"
MOST_LAYERS = 1_000
# The weights of numbered layers, and the stack that they are in; `attn.bias` is a causal mask of older versions.
LAYER = re.compile(r"(.*?\.)\d+\..*(?<!attn)(?<!attention)\.(?:weight|bias)$")
MERGED = 0.02  # of the largest logit: how far merged weights may be from weights and adapter, in half precision too
MOST_REASON = 400  # characters of what a library says of its error
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


class ModelError(ValueError):
    """A model or tokenizer could not be loaded; the message is one line with the name and what to do."""


def resolve(name: str, *, revision: str | None = None) -> str:
    """The local folder or hub id that `name` stands for; `smollm2-135m` is fetched and converted if need be.

    Raises ModelError where a local path is not a complete checkpoint, or the hub has no such model.
    """
    if name == smollm2.NAME:
        try:
            return str(smollm2.smollm2_path())
        except smollm2.SmolLM2Error as error:
            raise ModelError(str(error)) from error
    path = user_path(name)
    if name and path.exists():  # the empty path is the current folder, which nobody means
        _check_checkpoint(path)
        return str(path)
    return _on_hub(name, revision)


def load_model(
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    is_trainable: bool = False,
    quantised: Mapping[str, Any] = MappingProxyType({}),
) -> PreTrainedModel | PeftModel:
    """The causal language model called `name`, in `dtype`, on the CPU, in evaluation mode.

    A folder with a PEFT adapter gives its base model with the adapter on it, frozen unless `is_trainable`. `revision`
    is a branch, tag or commit of a hub id. `quantised` (`quantised.four_bits`) says how the weights are to be rounded,
    and on which device. Raises ModelError.
    """
    source = resolve(name, revision=revision)
    if (generation := Path(source) / "generation_config.json").is_file():  # where damaged, transformers leaves it out
        _json_object(generation)
    if (Path(source) / ADAPTER).is_file():
        return _load_adapter(Path(source), dtype, is_trainable, quantised)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **quantised,
        )
    except Exception as error:  # transformers raises whatever comes of a file that is damaged, or made to harm
        raise ModelError(f"the model of {name} could not be loaded ({_reason(error)}).") from error
    if missing := sorted(info["missing_keys"]):  # transformers would leave these at random values, with a warning
        raise ModelError(
            f"{name}: {len(missing)} weights of the model are not in its files, the first is {missing[0]}."
        )
    if unread := _unread(model, info["unexpected_keys"]):  # another model would compute with them
        raise ModelError(
            f"{name}: {len(unread)} weights in its files are not in the model that its config.json describes, the "
            f"first is {unread[0]}; mend config.json."
        )
    if getattr(model.config, "attn_logit_softcapping", None) and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("eager")  # torch's attention would silently leave out Gemma 2's soft-capping
    return model


def _unread(model: PreTrainedModel, unexpected: Iterable[str]) -> list[str]:
    """Those of the `unexpected` keys of a checkpoint that belong in the model's own stacks of layers.

    Others may be left out: a vision tower, a head for several tokens, a buffer that older versions saved.
    """
    stacks = {match[1] for key in model.state_dict() if (match := LAYER.match(key))}
    return sorted(key for key in unexpected if (match := LAYER.match(key)) and match[1] in stacks)


def load_tokenizer(name: str, chat: Chat = TOKENIZERS_OWN, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer called `name`, with the template of `chat`; never without a template or an end-of-sequence token.

    One without a padding token pads with its end-of-sequence token, as TRL does: so take masks from lengths, never
    from ids. Raises ModelError.
    """
    source = resolve(name, revision=revision)
    folder = Path(source)
    if folder.is_dir() and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(f"{name} has no tokenizer ({_contents(folder)}); save the tokenizer beside the model.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception on a file that it cannot read
        raise ModelError(f"the tokenizer of {name} could not be loaded ({_reason(error)}).") from error
    try:
        set_chat(tokenizer, chat)
        check_time(tokenizer)
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {name} has no end-of-sequence token; set eos_token.")
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {name} has no chat template, as most base models; set {suggestion(tokenizer)}."
        )
    try:
        opens_thinking(tokenizer)
    except Exception as error:  # a template is a program, though a sandboxed one
        raise ModelError(f"the chat template of {name} does not work ({_reason(error)}).") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def merged_checkpoint(name: str, model: PreTrainedModel | PeftModel) -> Iterator[str]:
    """Yield a folder or hub id that holds the full weights of `model`, for readers that know no adapters.

    `model` was loaded from `name`, and that is what comes back unless it is a PEFT adapter. An adapter is merged into
    its base model (`model` changes with it) and saved in a temporary folder, which is deleted at the end.
    """
    if not isinstance(model, PeftModel):
        yield resolve(name)
        return
    refuse_adapters(model)  # some cannot be merged, and an activated LoRA would be merged into another model
    with tempfile.TemporaryDirectory(prefix="rethink-merged-") as folder:
        _save_merged(name, model, folder)
        yield folder


def _save_merged(name: str, model: PeftModel, folder: str) -> None:
    """Save the base model with the adapter in its weights. Raises ModelError where it does not compute the same."""
    ids = torch.arange(8, device=next(model.parameters()).device).unsqueeze(0)
    try:
        with torch.no_grad():
            apart = model(input_ids=ids, use_cache=False).logits
            merged = model.merge_and_unload()
            together = merged(input_ids=ids, use_cache=False).logits
        merged.save_pretrained(folder)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError) as error:  # of kinds that cannot be merged
        raise ModelError(f"the adapter of {name} cannot be merged into its base model ({_reason(error)}).") from error
    gap = float((apart - together).abs().max() / apart.abs().max().clamp(min=1e-6))
    if not gap < MERGED:
        raise ModelError(
            f"the adapter of {name}, merged into its base model, gives logits that differ by a share of {gap:.2g}; use "
            "the back end `engine`, or merge it yourself."
        )


def _load_adapter(folder: Path, dtype: torch.dtype, is_trainable: bool, quantised: Mapping[str, Any]) -> PeftModel:
    """The base model that the adapter in `folder` names, with the adapter applied."""
    try:
        config = read_json(folder / ADAPTER)
        if why := refused_settings(config, is_trainable):
            raise ModelError(f"the adapter of {folder} {why}")
        base_name, revision = config["base_model_name_or_path"], config.get("revision")
        base = Path(base_name)
        if base.name == smollm2.NAME and base.is_absolute() and not base.exists():  # in another machine's cache
            base_name = smollm2.NAME
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / ADAPTER} does not name a base model; is the file damaged?") from error
    try:
        model = load_model(base_name, dtype=dtype, revision=revision, quantised=quantised)
    except ModelError as error:
        raise ModelError(f"the base model of the adapter {folder} could not be loaded: {error}") from error
    try:
        own = set(model.state_dict())
        adapted = PeftModel.from_pretrained(model, folder, is_trainable=is_trainable)
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            saved = set(file.keys())
        held = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    except Exception as error:  # as above
        if "size mismatch" in str(error):
            raise ModelError(
                f"the adapter of {folder} could not be loaded (it does not fit its base model {base_name}: "
                f"{_mismatch(error)}). Where its vocabulary was resized, merge it into the resized model, and give the "
                "merged model."
            ) from error
        raise ModelError(f"the adapter of {folder} could not be loaded ({_reason(error)}).") from error
    if differing := differing_weights(saved, held, own):  # PEFT drops some, makes up others
        raise ModelError(
            f"the adapter of {folder} could not be loaded: {len(differing)} weights are in its file or in its "
            f"{ADAPTER} alone, the first is {differing[0]}."
        )
    return adapted


def _json_object(path: Path) -> None:
    """Raise ModelError unless the file holds a JSON object."""
    try:
        if not isinstance(read_json(path), dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({_reason(error)}).") from error


def _check_checkpoint(path: Path) -> None:
    """Raise ModelError unless `path` is a folder with a model or an adapter and all of its safetensors files."""
    if not path.is_dir():
        raise ModelError(f"{path} is not a checkpoint: expected a folder with a model in it.")
    if fault := checkpoints.refusal(path):
        raise ModelError(fault)
    if (path / ADAPTER).is_file():
        stem = "adapter_model"
    elif (path / "config.json").is_file():
        stem = "model"
    else:
        raise ModelError(f"{path} is not a checkpoint: no config.json nor {ADAPTER} in it ({_contents(path)}).")
    if large := next((file for file in path.glob("*.json") if file.stat().st_size > MAX_JSON_BYTES), None):
        raise ModelError(f"{large} has more than {MAX_JSON_BYTES:,} bytes, and is not read.")
    _check_layers(path / "config.json")
    index = path / f"{stem}.safetensors.index.json"
    try:
        files = set(read_json(index)["weight_map"].values()) if index.is_file() else {f"{stem}.safetensors"}
        if outside := [file for file in files if Path(file).name != file]:
            raise ValueError(f"it names {outside[0]}, which is not a file beside it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is damaged: {error}.") from error
    if missing := sorted(file for file in files if not (path / file).is_file()):
        raise ModelError(
            f"{path} is not a complete checkpoint: {missing[0]} is missing ({_contents(path)}). Only safetensors are "
            f"read, never pickled weights."
        )


def _check_layers(config: Path) -> None:
    """Refuse a configuration that would have transformers build layers until the memory is full."""
    try:
        values = read_json(config) if config.is_file() else {}
        layers = [part.get("num_hidden_layers") for part in (values, values.get("text_config") or {})]
    except (ValueError, AttributeError):
        return  # transformers will say what is wrong with it
    if absurd := next((count for count in layers if isinstance(count, int) and count > MOST_LAYERS), None):
        raise ModelError(f"{config} asks for {absurd:,} layers; expected at most {MOST_LAYERS:,}.")


def _contents(folder: Path) -> str:
    """The first few names in a folder, for an error message."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return "it holds " + ", ".join(names[:8]) + ", ..." * (len(names) > 8) if names else "it is empty"


def _on_hub(name: str, revision: str | None) -> str:
    """`name` if the hub has it, or the folder of the copy in the hub's cache where the hub does not answer.

    One request and no retries: without network transformers takes more than a minute to say that a name is unknown.
    """
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except HFValidationError:
        folder = Path(name).parent
        is_there = len(folder.parts) > 1 and folder.is_dir()
        raise ModelError(
            f"no such model: the path {name!r} does not exist, and no hub id looks like it. Give a checkpoint's "
            "folder, or a hub id such as ORG/NAME."
            + (f" The folder {folder} is there: {_contents(folder)}." if is_there else "")
        ) from None
    except (httpx.HTTPError, OSError) as error:
        config_path = try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(config_path, str):
            return str(Path(config_path).parent)
        raise ModelError(
            f"no such model: {name!r} is not a folder here, and the model hub did not give it ({_reason(error)}). "
            f"Check the spelling and the network."
        ) from error
    return name


def _reason(error: Exception) -> str:
    """The class of an error and what it says, in one line; the end of a long text says as much as its beginning."""
    words = " ".join(str(error).split()) or "no reason given"
    if len(words) > MOST_REASON:
        words = f"{words[: MOST_REASON // 2]} ... {words[-MOST_REASON // 2 :]}"
    return f"{type(error).__name__}: {words}"


def _mismatch(error: Exception) -> str:
    """The first weight whose size torch complains of, with both sizes."""
    line = next(line for line in str(error).splitlines() if "size mismatch" in line)
    sizes = re.findall(r"torch\.Size\(\[([\d, ]*)\]\)", line)
    name = re.search(r"size mismatch for ([\w.]+)", line)
    if name is None or len(sizes) != 2:
        return line.strip()
    return f"{name[1]} is ({sizes[0]}) in the adapter and ({sizes[1]}) in the model"
