"""The sampler draws exactly the distribution that it is given."""

import pytest
import torch
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from train.rollout import sampler as sampler_file
from train.rollout.counter import problem_key, row_key, uniforms
from train.rollout.interface import Sampling
from train.rollout.sampler import NonFiniteLogits, Sampler


def sampling(**changes: float) -> Sampling:
    return Sampling(max_new_tokens=1, stop_ids=(), **changes)


def even_numbers(count: int) -> torch.Tensor:
    """`count` numbers spread evenly over [0, 1): frequencies then equal probabilities to within 1/count."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def transformers_distribution(logits: torch.Tensor, settings: Sampling) -> torch.Tensor:
    scores = logits.unsqueeze(0).clone() / settings.temperature
    if settings.top_k:
        scores = TopKLogitsWarper(settings.top_k)(None, scores)
    if settings.top_p < 1:
        scores = TopPLogitsWarper(settings.top_p)(None, scores)
    if settings.min_p:
        scores = MinPLogitsWarper(settings.min_p)(None, scores)
    return scores[0].softmax(-1)


@pytest.mark.parametrize("vocab", [3, 256, 1000])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.7},
        {"top_k": 2},
        {"top_k": 5000},
        {"top_p": 0.7},
        {"min_p": 0.1},
        {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    ],
)
def test_frequencies_equal_the_distribution_of_transformers(vocab: int, changes: dict[str, float]) -> None:
    logits = torch.randn(vocab, generator=torch.Generator().manual_seed(vocab)) * 2
    settings, draws = sampling(**changes), 5_000
    draw = Sampler().draw(logits.expand(draws, -1).clone(), settings, even_numbers(draws))
    frequencies = torch.bincount(draw.tokens, minlength=vocab) / draws
    assert (frequencies - transformers_distribution(logits, settings)).abs().max() < 2 / draws


def test_frequencies_hold_over_a_large_vocabulary() -> None:
    logits = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) * 3
    numbers = uniforms(torch.full((8000,), row_key(0, 0, 0, 0)), torch.arange(8000))
    tokens = torch.cat([Sampler().draw(logits.repeat(500, 1), sampling(), part).tokens for part in numbers.split(500)])
    expected = logits.softmax(-1) * 8000
    order = expected.argsort(descending=True)
    bins = torch.bucketize(expected[order].cumsum(0), torch.arange(200, 8000, 200.0))
    observed = torch.bincount(bins[order.argsort()[tokens]], minlength=40).float()
    wanted = torch.zeros(40).index_add_(0, bins, expected[order])
    chi_square = ((observed - wanted) ** 2 / wanted.clamp_min(1e-9))[wanted > 5].sum()
    assert chi_square < 39 + 4 * 78**0.5


def test_logprobs_are_of_the_whole_scaled_distribution() -> None:
    logits = torch.randn(6, 700)
    expected = (logits / 0.7).log_softmax(-1)
    draw = Sampler().draw(logits.clone(), sampling(temperature=0.7, top_k=3), torch.rand(6, dtype=torch.float64))
    assert torch.allclose(draw.logprobs(draw.tokens), expected.gather(1, draw.tokens[:, None])[:, 0], atol=1e-5)
    unlikely = logits.argmin(-1)
    assert torch.allclose(draw.logprobs(unlikely), expected.gather(1, unlikely[:, None])[:, 0], atol=1e-5)


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.full((64, 600), -torch.inf)
    logits[:, 299] = 0.0
    logits[:, 511] = -200.0
    numbers = torch.cat([torch.zeros(1), even_numbers(62), torch.tensor([1 - 2.0**-53])]).double()
    assert Sampler().draw(logits, sampling(), numbers).tokens.eq(299).all()


def test_greedy_takes_the_first_maximum_and_reports_logprobs_at_temperature_one() -> None:
    logits = torch.randn(4, 50)
    draw = Sampler().draw(logits.clone(), sampling(temperature=0), torch.zeros(4, dtype=torch.float64))
    assert draw.tokens.equal(logits.argmax(-1))
    assert torch.allclose(draw.logprobs(draw.tokens), logits.log_softmax(-1).amax(-1), atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_are_named(value: float) -> None:
    logits = torch.randn(5, 300)
    logits[3, 17] = value
    with pytest.raises(NonFiniteLogits) as error:
        Sampler().draw(logits, sampling(), torch.rand(5, dtype=torch.float64))
    assert error.value.rows == [3]


def test_a_smaller_batch_after_a_larger_one_sees_no_leftovers() -> None:
    sampler, numbers = Sampler(), torch.rand(9, dtype=torch.float64)
    sampler.draw(torch.randn(9, 300), sampling(), numbers)
    logits = torch.randn(2, 300)
    fresh = Sampler().draw(logits.clone(), sampling(), numbers[:2])
    assert sampler.draw(logits.clone(), sampling(), numbers[:2]).tokens.equal(fresh.tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, {"temperature": 0.7}, {"top_p": 0.8}, {"temperature": 0}])
def test_a_draw_in_slices_is_that_of_all_rows_at_once(monkeypatch, changes, dtype) -> None:
    logits, numbers = torch.randn(11, 300).to(dtype), torch.rand(11, dtype=torch.float64)
    whole = Sampler().draw(logits.clone(), sampling(**changes), numbers)
    monkeypatch.setattr(sampler_file, "_SLICE", 3 * 300)  # three rows each, and two at the end
    sliced = Sampler().draw(logits.clone(), sampling(**changes), numbers)
    assert sliced.tokens.equal(whole.tokens)
    assert sliced.logprobs(sliced.tokens).equal(whole.logprobs(whole.tokens))


def test_rows_that_are_not_finite_are_named_across_slices(monkeypatch) -> None:
    monkeypatch.setattr(sampler_file, "_SLICE", 2 * 300)
    logits = torch.randn(5, 300)
    logits[1, 0], logits[4, 9] = float("nan"), float("inf")
    with pytest.raises(NonFiniteLogits) as error:
        Sampler().draw(logits, sampling(), torch.rand(5, dtype=torch.float64))
    assert error.value.rows == [1, 4]


def test_counter_numbers_are_uniform_and_independent_of_their_neighbours() -> None:
    keys = torch.tensor(
        [row_key(0, step, problem, sample) for step in range(4) for problem in range(25) for sample in range(10)]
    )
    assert len(set(keys.tolist())) == 1000
    numbers = uniforms(keys.repeat_interleave(100), torch.arange(100).repeat(1000)).view(1000, 100)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers.float(), bins=50, min=0, max=1)
    assert (((counts - 2000) ** 2) / 2000).sum() < 49 + 4 * 98**0.5
    assert torch.corrcoef(numbers.T)[~torch.eye(100, dtype=torch.bool)].abs().max() < 0.16
    assert torch.corrcoef(numbers[:60])[~torch.eye(60, dtype=torch.bool)].abs().max() < 0.45
    assert uniforms(keys[5:6], torch.tensor([7])).item() == numbers[5, 7].item()


def test_counter_numbers_are_the_published_generator() -> None:
    """splitmix64 from state 0 gives 0xE220A8397B1DCDAF first, then 0x6E789E6AA1B965F4."""
    numbers = uniforms(torch.zeros(2, dtype=torch.int64), torch.arange(2))
    assert numbers.tolist() == [(word >> 11) * 2.0**-53 for word in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4)]


def test_problem_keys_tell_prompts_apart_and_do_not_change() -> None:
    assert problem_key([1, 23]) != problem_key([12, 3]) != problem_key([1, 2, 3])
    assert problem_key([1, 2, 3]) == 3034334815109854690
