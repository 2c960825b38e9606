"""A captured prefill gives what an eager one gives: a tape of operators and kernels stands for a CUDA graph."""

from typing import Any

import pytest
import torch
from rollout_models import largest_gap, prompts_of, scratch_llama
from tape import Tape, record
from torch.utils._python_dispatch import _disable_current_modes
from triton.runtime.interpreter import GridExecutor

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling
from train.rollout.paged.graphs import StepGraphs

SHORT = Sampling(max_new_tokens=2, stop_ids=())
COMMON = prompts_of((37,), seed=5)[0]  # two pages and a part of one, which later prompts read from the pool
PROMPTS = [*prompts_of((1, 16, 33)), [*COMMON, 9], [*COMMON, 8, 7]]  # edges of pages of 16 and tiles of 32


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What replaces an engine's CUDA graphs: a step's kernels are noted on the tape like torch's operators."""
    run = GridExecutor.__call__

    def noted(kernel: GridExecutor, *args: object, **options: object) -> None:
        with _disable_current_modes():
            run(kernel, *args, **options)
        mode = torch.utils._python_dispatch._get_current_dispatch_mode()
        if isinstance(mode, Tape):
            mode._calls.append((lambda *given, **named: run(kernel, *given, **named), args, options, None))

    monkeypatch.setattr(GridExecutor, "__call__", noted)

    def graphs() -> StepGraphs:
        return StepGraphs(record, torch.device("cpu"))

    return graphs


def engine_of(model: torch.nn.Module, **options: Any) -> RolloutEngine:
    return RolloutEngine(model, page_tokens=16, own_kernels=True, trial=False, **options)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of tiles without a query, which write nothing
@pytest.mark.parametrize("options", [{}, {"max_rows": 3, "chunk_tokens": 20}], ids=["idle", "beside rows that decode"])
def test_replayed_prefills_give_the_tokens_and_logprobs_of_eager_ones(options: dict[str, Any], taped: Any) -> None:
    model = scratch_llama(num_hidden_layers=1)
    engine = RolloutEngine(model, page_tokens=16, own_kernels=True, trial=False, **options)
    eager = engine.generate(PROMPTS, 1, SHORT)
    decoder = engine.decoder
    assert decoder is not None and engine.forward is not None and engine.forward.name.startswith("fused layers")
    assert engine.stats.replayed_prefills == 0
    assert largest_gap(model, PROMPTS, eager) < 1e-4
    decoder.graphs = taped()
    stays = {name: each.data_ptr() for name, each in vars(decoder._padded).items() if isinstance(each, torch.Tensor)}
    for prompts, expected in ((PROMPTS, eager), (PROMPTS[::-1], eager[::-1])):  # the same sizes with other tokens
        rollouts = engine.generate(prompts, 1, SHORT)
        assert [r.token_ids for r in rollouts] == [r.token_ids for r in expected]
        torch.testing.assert_close([r.logprobs for r in rollouts], [r.logprobs for r in expected], atol=1e-5, rtol=0)
        assert engine.stats.replayed_prefills == engine.stats.prefills > 0
        assert engine.stats.replayed_steps == engine.stats.steps
    assert engine.decoder is decoder
    assert {name: vars(decoder._padded)[name].data_ptr() for name in stays} == stays and len(stays) == 5
