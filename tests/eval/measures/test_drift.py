import numpy as np
import pytest

from eval.measures.drift import kl_divergence
from eval.sampling.logprobs import completion_logprobs
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling


def test_the_divergence_is_that_of_the_distributions():
    rng = np.random.default_rng(0)
    trained, start = np.array([0.7, 0.2, 0.1]), np.array([0.4, 0.4, 0.2])
    drawn = rng.choice(3, (400, 50), p=trained)
    found = kl_divergence(list(np.log(trained)[drawn]), list(np.log(start)[drawn]))
    exact = float((trained * np.log(trained / start)).sum())
    assert found.value == pytest.approx(exact, abs=0.01) and found.low < exact < found.high
    assert found.count == 20_000


def test_a_model_is_no_distance_from_itself_and_no_tokens_are_no_evidence():
    same = [np.log([0.5, 0.25]), np.log([0.5])]
    assert kl_divergence(same, same).value == 0
    assert kl_divergence([np.empty(0)], [np.empty(0)]) is None


def test_logprobs_of_a_completion_are_those_of_the_engine_that_sampled_it(tmp_path, tiny_model, tokenizer):
    tiny_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompts = [[5, 6, 7], [8, 9]]
    rollouts = RolloutEngine(tiny_model).generate(prompts, 1, Sampling(8, (2,), temperature=1.0))
    pairs = [(prompt, rollout.token_ids) for prompt, rollout in zip(prompts, rollouts, strict=True)]
    for rollout, scored in zip(rollouts, completion_logprobs(str(tmp_path), pairs), strict=True):
        assert scored == pytest.approx(np.array(rollout.logprobs), abs=1e-5)
