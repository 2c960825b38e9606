"""A resumed run must have the problems, the model, the tokenizer and the user's own code that it began with.

A digest of each is in environment.json. For weights a few numbers of each tensor are enough, since training changes all
of them.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.mixture import draw_problems
from data.paths import user_path
from data.problem import Problem
from data.tasks.own import is_own
from train.config.run_config import RunConfig
from train.files.checkpoints import COLD_START, fault
from train.files.untrusted import read_json

PROBLEMS, SOURCES = "problems", "sources"  # the keys in environment.json
REFUSALS = {
    PROBLEMS: "The {} problems are not those that the run began with: a data file was edited, or this version draws "
    "others. Put the file back, or start another run with --name.",
    SOURCES: "The {} is not what it was when the run began. Put it back, or start another run with --name.",
}
SAMPLED = 64  # numbers of a tensor


def problem_digests(run: RunConfig, seed: int) -> dict[str, str]:
    """A digest of each set of problems that the run draws, in the order in which it draws them."""
    return {
        "train": _of_problems(draw_problems(run.parts, "train", run.train_problems, run.split_seed, order=seed)),
        "validation": _of_problems(draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)),
    }


def source_digests(run: RunConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """A digest of each file that the configuration refers to, by the name that a message gives it."""
    digests = {}
    if run.model != "scratch":
        digests[f"model {run.model}"] = _of_weights(model)
        digests[f"tokenizer of {run.model}"] = _of_tokenizer(tokenizer)
    rewards = {term.source.rpartition(":")[0] for term in run.reward_terms if term.is_own}
    tasks = {part.task for part in (*run.parts, *run.demonstration_parts) if is_own(part.task)}
    for kind, modules in (("reward module", rewards), ("task module", tasks)):
        digests |= {f"{kind} {name}": _digest([_module_file(name).read_bytes()]) for name in sorted(modules)}
    if run.trace_settings and fault(run.folder / "checkpoints" / COLD_START):  # once it is done, nothing reads them
        traces = user_path(run.trace_settings.source)
        files = [traces] if traces.is_file() else sorted(path for path in traces.glob("*") if path.is_file())
        if files:  # a set on the hub has none
            digests[f"source {run.trace_settings.source}"] = _digest(path.read_bytes() for path in files)
    return digests


def refuse_others(folder: Path, key: str, digests: dict[str, str]) -> None:
    """Raise ValueError where the run in `folder` began with other PROBLEMS or SOURCES, whichever `key` is.

    Runs of older versions have no digests.
    """
    path = folder / "environment.json"
    began = read_json(path).get(key) or {}
    if not isinstance(began, dict):
        raise ValueError(f"{path} is not as `train` left it: {key} is {began!r}.")
    for name, digest in digests.items():
        if began.get(name, digest) != digest:
            raise ValueError(REFUSALS[key].format(name))


def _of_problems(problems: list[Problem]) -> str:
    content = b"".join(problem.to_json().encode(errors="surrogatepass") + b"\n" for problem in problems)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _of_weights(model: PreTrainedModel) -> str:
    """A digest of some numbers of each weight, evenly spaced."""

    def parts() -> Iterable[bytes]:
        for name, weight in model.state_dict().items():
            numbers = weight.detach().flatten()
            numbers = numbers[:: max(1, numbers.numel() // SAMPLED)]
            yield f"{name} {tuple(weight.shape)}".encode()
            yield numbers.float().cpu().numpy().tobytes()

    return _digest(parts())


def _of_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    parts = [tokenizer.chat_template, sorted(tokenizer.get_vocab().items()), tokenizer.all_special_ids]
    return _digest([json.dumps(parts).encode(errors="surrogatepass")])


def _module_file(name: str) -> Path:
    """The file of a user's module, already imported, by its path or its dotted name."""
    if name.endswith(".py"):
        return user_path(name)
    spec = importlib.util.find_spec(name)
    assert spec and spec.origin
    return Path(spec.origin)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
