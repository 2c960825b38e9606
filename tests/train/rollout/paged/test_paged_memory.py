"""How many pages a call gets and how much of a prompt runs at once on our own kernels, whose rules a CPU can follow."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rollout_models import STOP, prompts_of, scratch_llama

from train.rollout import engine as engines
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.paged.decoder import PagedDecoder
from train.rollout.schedule.block_manager import Chunk

PAGE = 16
LONG = Sampling(max_new_tokens=400, stop_ids=())


def engine_with_own_rules(**options: int) -> RolloutEngine:
    """An engine that plans as it does over our kernels, and computes with torch's operators."""
    engine = RolloutEngine(scratch_llama(), page_tokens=PAGE, trial=False, **options)
    engine.limits = replace(engine.limits, own_kernels=True)
    engine._choose_forward = lambda longest: setattr(engine, "forward", plain.forward)  # type: ignore[method-assign]
    plain = RolloutEngine(engine.model, page_tokens=PAGE, trial=False)
    plain._choose_forward(500)
    return engine


def test_a_pool_is_for_the_lengths_that_were_seen_not_for_the_longest() -> None:
    prompts, engine = prompts_of((20,) * 8), engine_with_own_rules()
    engine.lengths.remember(prompts, 4, [40] * 32)
    engine.generate(prompts, 4, replace(LONG, stop_ids=tuple(range(3, 120))))  # every rollout ends at once
    assert engine.decoder is not None
    worst = 8 * 4 * (420 // PAGE)
    assert engine.decoder.capacity.pages < worst / 3


def test_prompts_run_in_long_chunks_until_a_row_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, passes = engine_with_own_rules(max_rows=2, chunk_tokens=16), []
    steps: list[str] = []
    prefill, decode = PagedDecoder.prefill, PagedDecoder.decode

    def noted(self: PagedDecoder, chunks: list[Chunk]) -> torch.Tensor:
        passes.append((sum(chunk.end - chunk.start for chunk in chunks), bool(steps)))
        steps.clear()
        return prefill(self, chunks)

    def decoded(self: PagedDecoder, sampling: Sampling) -> object:
        steps.append("decode")
        return decode(self, sampling)

    monkeypatch.setattr(PagedDecoder, "prefill", noted)
    monkeypatch.setattr(PagedDecoder, "decode", decoded)
    prompts = prompts_of((70, 60, 90, 80, 70))
    engine.generate(prompts, 1, Sampling(max_new_tokens=12, stop_ids=(STOP, *range(3, 20))))
    beside = [tokens for tokens, decodes in passes if decodes]
    alone = [tokens for tokens, decodes in passes if not decodes]
    assert alone[0] == 70 + 60 and beside and max(beside) <= 16


@pytest.mark.parametrize(("share", "kept"), [(0.05, True), (0.2, False)])
def test_a_large_pool_is_given_back_before_the_loss(monkeypatch: pytest.MonkeyPatch, share: float, kept: bool) -> None:
    engine = RolloutEngine(scratch_llama(num_hidden_layers=1), trial=False)
    decoder = SimpleNamespace(
        device=torch.device("cuda"), pool=SimpleNamespace(bytes=share * 2**30), graphs=SimpleNamespace(forget=int)
    )
    engine.decoder = decoder  # type: ignore[assignment]
    monkeypatch.setattr(engines.torch.cuda, "mem_get_info", lambda device: (0, 2**30))
    engine.make_room()
    assert engine.decoder is (decoder if kept else None)
