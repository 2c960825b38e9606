"""QLoRA: what is refused here, and, where bitsandbytes is installed, that it trains (its CPU kernels will do)."""

import pytest
import torch
from safetensors.torch import load_file

from train.config import qlora as quantised
from train.config.launch import KINDS, Launch, refusal
from train.config.parse import parse_config
from train.config.qlora import check_quantised, four_bits, is_quantised, keep_adapters_precise
from train.lifecycle.run_folder import make_folder
from train.model.start import start_model
from train.run import train

QLORA = ["--lora_rank", "4", "--load_in_4bit", "true", "--model_dtype", "bfloat16"]
TINY = ["--cold_start_steps", "2", "--cold_start_batch_size", "4", "--max_steps", "2", "--train_problems", "40"]
TINY += ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--num_generations", "4"]
TINY += ["--max_completion_length", "12", "--validation_problems", "0", "--use_cpu", "true"]


def configure(model, tmp_path, *options):
    tasks = '{"countdown": {}}'
    return parse_config(
        ["--name", "x", "--model", str(model), "--tasks", tasks, "--runs_dir", str(tmp_path / "runs"), *options]
    )


def test_four_bits_are_refused_without_a_gpu_before_anything_is_loaded(tmp_path):
    run, training = configure("no/such-model", tmp_path, *QLORA, "--use_cpu", "true")
    with pytest.raises(ValueError, match="trains on a CUDA GPU only"):
        check_quantised(run, training)


def test_four_bits_are_refused_without_bitsandbytes(tmp_path, monkeypatch):
    run, training = configure("no/such-model", tmp_path, *QLORA)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(quantised, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install bitsandbytes"):
        check_quantised(run, training)
    monkeypatch.setattr(quantised, "find_spec", lambda name: name)
    check_quantised(run, training)


@pytest.mark.parametrize("kind", KINDS)
def test_four_bits_are_refused_where_the_launch_shards_the_model(kind, tmp_path):
    run, training = configure("no/such-model", tmp_path, *QLORA)
    launch = Launch(
        kind, training.world_size, local_processes=1, on_cpu=False, gpus=8, whole_checkpoints=True, recomputes=False
    )
    why = refusal(launch, run, training)
    assert (why is None) if kind in ("one process", "DDP") else why.startswith("load_in_4bit is set")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--load_in_4bit", "true"], "set lora_rank: 16 and model_dtype: bfloat16"),
        (["--load_in_4bit", "true", "--lora_rank", "8"], "model_dtype float32"),
        ([*QLORA, "--backend", "vllm"], "use backend: engine"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        configure("no/such-model", tmp_path, *options)


def test_a_model_that_is_not_quantised_keeps_its_types(tiny_model):
    half = tiny_model.to(torch.bfloat16)
    keep_adapters_precise(half)
    assert not is_quantised(half) and half.dtype == torch.bfloat16


def test_adapters_over_four_bits_train_in_full_precision_through_cold_start_and_rl(checkpoint, tmp_path, monkeypatch):
    modules = pytest.importorskip("bitsandbytes.nn.modules")
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)  # it would repack the weights, for inference alone
    run, training = configure(checkpoint, tmp_path, *QLORA, *TINY)
    model, _ = start_model(run, 0)
    kinds = {type(module).__name__ for module in model.modules()}
    assert is_quantised(model) and "Linear4bit" in kinds
    assert four_bits()["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16
    make_folder(run, training)
    assert train(run, training) is None
    last = tmp_path / "runs/x/checkpoints/checkpoint-2"
    adapters = load_file(last / "adapter_model.safetensors")
    assert adapters and all("lora_" in name and weight.dtype == torch.float32 for name, weight in adapters.items())
    assert any(weight.abs().sum() > 0 for name, weight in adapters.items() if "lora_B" in name)
