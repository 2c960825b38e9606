"""Files from strangers: nothing in them is executed, their sizes are bounded, and paths stay inside their folder."""

import json
import shutil
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model
from resuming import launch, write_config

from train.config.parse import parse_config
from train.files import untrusted
from train.files.checkpoints import SEAL, fault, publish
from train.files.untrusted import last_metrics, read_json, read_metrics, read_parquet, read_yaml
from train.model.loading import load_model, load_tokenizer


class Trap:
    """Pickles to a call that leaves a file behind: whoever unpickles it has run a stranger's code."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


def refusal(read, *arguments):
    """The one line in which reading is refused."""
    with pytest.raises(ValueError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- configurations

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB + "tasks: *i\n", "alias *a"),
        ("tasks: &t {countdown: *t}\n", "alias *t"),
        ("tasks: " + "[" * 100_000, "nested more than"),
        ("tasks: {countdown: {}}\n#" + "x" * 2**18, "more than 262,144 bytes"),
        ("tasks: !!python/object/apply:os.system ['touch sprung']\n", "which is not read"),
        ("tasks: !!python/name:os.system\n", "line 1: '' has the tag !!python/name:os.system, which is not read"),
        ("tasks: {countdown: {}}\nmax_steps: 010\n", "line 2: 010 is read as a number to the base 8; write it to"),
        ("tasks: {countdown: {}}\nmax_steps: 1:30\n", "line 2: 1:30 is read as a number to the base 60"),
        ("learning_rate: 1:30.5\n", "line 1: 1:30.5 is read as a number to the base 60"),
        ("name: 2024-01-01\n", "line 1: 2024-01-01 is read as a date; put it in quotes"),
        ("tasks: {no: {}}\n", "line 1: the key no is read as a truth value; put it in quotes"),
        ("tasks:\n  1: {}\n", "line 2: the key 1 is read as a number"),
        ("~: 1\n", "the key ~ is read as null"),
        ("[a, b]: 1\n", "line 1: a list or a mapping is a key; expected text"),
        ("resume: !!bool maybe\n", "not valid YAML"),
        ("save_at: !!set {1, 2}\n", "line 1: a list or mapping has the tag !!set"),
        ("name: !!binary aGk=\n", "has the tag !!binary, which is not read"),
        ("max_steps: 1" + "0" * 5_000 + "\n", "not valid YAML"),
        ("tasks: {countdown: {}}\nenv: {LD_PRELOAD: evil.so}\n", "environment variables"),
        ("tasks: \x00\n", "not valid YAML"),
        ("- a\n- b\n", "expected a mapping of options"),
        ("name: ../x\ntasks: {countdown: {}}\n", "expected a folder name"),
        ("name: /tmp/x\ntasks: {countdown: {}}\n", "expected a folder name"),
        ('name: "a\\0b"\ntasks: {countdown: {}}\n', "holds the character '\\x00'"),
        ('name: "a\\nb"\ntasks: {countdown: {}}\n', "expected a folder name"),
        (f"name: {'x' * 300}\ntasks: {{countdown: {{}}}}\n", "expected a folder name"),
        ("name: x\ntasks: {countdown: {numbers: 1.0e+300}}\n", "expected a whole number"),
    ],
)
def test_a_config_that_would_do_harm_is_refused_in_one_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    (tmp_path / "config.yaml").write_bytes(text.encode())
    assert message in refusal(parse_config, ["--config", "config.yaml"])
    assert not (tmp_path / "sprung").exists()


def test_yaml_and_json_within_bounds_are_read(tmp_path):
    (tmp_path / "a").write_text('{"a": [1, {"b": null}]}')
    assert read_yaml(tmp_path / "a") == read_json(tmp_path / "a") == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\ud800".encode("utf-8", "surrogatepass")])
def test_json_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(path) in refusal(read_json, path)


def test_json_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_JSON_BYTES", 10)
    (tmp_path / "file.json").write_text("[1, 2, 3, 4]")
    assert "more than 10 bytes" in refusal(read_json, tmp_path / "file.json")


# --- tables


def test_a_parquet_file_larger_than_it_looks_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"step": [7] * 100_000}), path)
    assert path.stat().st_size < 3_000
    assert read_parquet(path, ("step",)).num_rows == 100_000
    monkeypatch.setattr(untrusted, "MAX_PARQUET_ROWS", 99_999)
    assert "100,000 rows" in refusal(read_parquet, path, ("step",))


def test_a_parquet_file_that_is_a_link_none_or_another_is_refused(tmp_path):
    pq.write_table(pa.table({"step": [7]}), tmp_path / "outside.parquet")
    folder = tmp_path / "rollouts.parquet"
    folder.mkdir()
    (folder / "link.parquet").symlink_to("../outside.parquet")
    (folder / "text.parquet").write_text("PAR1")
    assert "it is a link" in refusal(read_parquet, folder / "link.parquet", ("step",))
    assert "cannot be read as parquet" in refusal(read_parquet, folder / "text.parquet", ("step",))
    assert "cannot be read as parquet" in refusal(read_parquet, folder / ".." / "none.parquet", ("step",))
    assert "reward" in refusal(read_parquet, tmp_path / "outside.parquet", ("reward",))


# --- models


def edit(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_pickles_beside_the_weights_are_not_opened(checkpoint, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "adapter_model.bin", "optimizer.pt", "tokenizer.pkl"):
        torch.save(Trap(tmp_path / "sprung"), checkpoint / name)
    load_model(str(checkpoint))
    load_tokenizer(str(checkpoint))
    assert not (tmp_path / "sprung").exists()


def test_code_that_a_checkpoint_brings_along_is_not_imported(checkpoint, tmp_path):
    code = f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\n"
    for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py", "custom_generate/generate.py"):
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_text(code + "class Evil: ...\n")
    edit(
        checkpoint / "config.json",
        auto_map={"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"},
    )
    edit(checkpoint / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "tokenization_evil.Evil"]})
    load_model(str(checkpoint))  # by its model_type, with the code that transformers has
    load_tokenizer(str(checkpoint))
    edit(checkpoint / "config.json", model_type="evil")
    assert "could not be loaded" in refusal(load_model, str(checkpoint))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 10**8) + b" " * 100,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 69) + b'{"a":{"dtype":"F32","shape":[9999999999999],"data_offsets":[0,4]}}   ' + b"abcd",
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999]}} ' + b"abcd",
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[9,5],"b":1}}  ' + b"abcd",
        b"",
    ],
)
def test_weights_with_an_absurd_header_are_refused(checkpoint, header):
    (checkpoint / "model.safetensors").write_bytes(header)
    assert "could not be loaded" in refusal(load_model, str(checkpoint))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 10**9}, "asks for 1,000,000,000 layers"),
        ({"num_hidden_layers": "many"}, "could not be loaded"),
        ({"hidden_size": -8}, "could not be loaded"),
        ({"hidden_size": 10**18}, "could not be loaded"),
        ({"vocab_size": 10**15}, "could not be loaded"),
        ({"num_attention_heads": 0}, "could not be loaded"),
        ({"hidden_act": "__import__('os')"}, "could not be loaded"),
        ({"model_type": ["llama"]}, "could not be loaded"),
        ({"architectures": "../../evil"}, "could not be loaded"),
    ],
)
def test_a_model_of_absurd_sizes_is_refused(checkpoint, values, message):
    edit(checkpoint / "config.json", **values)
    assert message in refusal(load_model, str(checkpoint))


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", 5])
def test_an_index_that_points_out_of_its_folder_is_refused(checkpoint, tmp_path, name):
    shutil.copy(checkpoint / "model.safetensors", tmp_path / "outside.safetensors")
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    said = refusal(load_model, str(checkpoint))
    assert "is damaged" in said or "is missing" in said  # the folder itself, and the one above, are no files


def test_a_file_of_a_model_that_is_larger_than_is_read_is_refused(checkpoint):
    with (checkpoint / "tokenizer.json").open("r+b") as file:
        file.truncate(2**27 + 1)  # a hole: it takes no room on the disk
    assert "is not read" in refusal(load_model, str(checkpoint))
    assert "is not read" in refusal(load_tokenizer, str(checkpoint))


def test_an_adapter_runs_nothing_and_its_base_is_held_to_the_same_rules(checkpoint, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil_library.py").write_text("raise SystemExit('this code was run')")
    base = load_model(str(checkpoint))
    adapter = tmp_path / "adapter"
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    auto = {"base_model_class": "Evil", "parent_library": "evil_library"}
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(checkpoint), auto_mapping=auto)
    load_model(str(adapter))
    torch.save(Trap(tmp_path / "sprung"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    assert "never pickled weights" in refusal(load_model, str(adapter))
    for elsewhere in ("../../nowhere", "/etc", "", 5, None):
        edit(adapter / "adapter_config.json", base_model_name_or_path=elsewhere)
        refusal(load_model, str(adapter))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__ }}{{ cycler.__init__.__globals__.os.system('touch sprung') }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for message in messages %}",
        "{{ raise_exception('no') }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_chat_template_is_kept_in_its_sandbox(checkpoint, tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    (checkpoint / "chat_template.jinja").write_text(template)
    assert "chat template" in refusal(load_tokenizer, str(checkpoint))
    assert not (tmp_path / "sprung").exists()


# --- checkpoints of a run


@pytest.fixture
def sealed(tmp_path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "model.safetensors").write_bytes(b"weights")
    publish(unfinished, tmp_path / "checkpoint-1")
    return tmp_path / "checkpoint-1"


def test_a_checkpoint_with_links_is_not_taken(sealed, tmp_path):
    assert fault(sealed) is None
    (tmp_path / "checkpoint-2").symlink_to(sealed)
    assert "link" in fault(tmp_path / "checkpoint-2")
    (sealed / "more").symlink_to("/etc")
    assert "link" in fault(sealed)


@pytest.mark.parametrize(
    "seal",
    [
        {"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}},
        {"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}},
        {"files": ["model.safetensors"]},
        {"files": {"model.safetensors": 7}},
        {"files": None},
        [],
        7,
    ],
)
def test_a_seal_of_another_make_does_not_hold(sealed, seal):
    (sealed / SEAL).write_text(json.dumps(seal))
    assert fault(sealed) is not None


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "progress-rank0.pt"])
def test_a_pickle_in_a_resumed_checkpoint_is_refused_and_not_run(tmp_path, capfd, name):
    config = write_config(tmp_path, max_steps=1, save_steps=1, cold_start_steps=0, eval_strategy="no")
    assert launch(config, "--name", "run") == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-1"
    torch.save(Trap(tmp_path / "sprung"), checkpoint / name)
    torch.save(Trap(tmp_path / "sprung"), checkpoint / "training_args.bin")  # which nothing reads
    (checkpoint / SEAL).unlink()
    publish(checkpoint, tmp_path / "sealed-anew")
    (tmp_path / "sealed-anew").rename(checkpoint)
    capfd.readouterr()
    assert launch(config, "--name", "run", "--resume", "--max_steps", "2") == 5
    said = capfd.readouterr().err
    assert "is not as `train` writes it" in said and "Traceback" not in said
    assert not (tmp_path / "sprung").exists()


# --- metrics

ROW = '{"phase": "rl", "step": 3, "loss": null}\n'


def test_a_last_line_in_the_writing_is_passed_over_and_no_file_has_no_rows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_text(ROW + ROW[:-1])
    assert read_metrics(path) == [{"phase": "rl", "step": 3, "loss": None}]


@pytest.mark.parametrize(
    "line", ["{}", "[1]", "1", '{"phase": "rl"}', '{"phase": "rl", "step": 1e999}', "[" * 100_000, "{"]
)
def test_a_line_that_is_no_row_of_metrics_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(ROW + line + "\n" + ROW)
    assert f"{path}, line 2, is not as `train` writes it" in refusal(read_metrics, path)


def test_metrics_without_end_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_JSON_BYTES", 100)
    (tmp_path / "metrics.jsonl").write_text(ROW * 9)
    assert "has more than 100 bytes" in refusal(read_metrics, tmp_path / "metrics.jsonl")


def test_the_last_row_is_read_without_the_rows_before_it(tmp_path, monkeypatch):
    path, fourth = tmp_path / "metrics.jsonl", ROW.replace("3", "4")
    assert last_metrics(path) is None
    (tmp_path / "metrics-000.jsonl").write_text(ROW)
    path.write_text("")
    assert last_metrics(path) == {"phase": "rl", "step": 3, "loss": None}  # rotated out a moment ago
    monkeypatch.setattr(untrusted, "LAST_BYTES", 100)
    path.write_text("no row\n" * 99 + ROW + fourth + ROW[:-1])
    assert last_metrics(path) == {"phase": "rl", "step": 4, "loss": None}
    path.write_text(ROW + "{}\n")
    assert f"The last line of {path} is not as `train` writes it" in refusal(last_metrics, path)


# --- run folders


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("environment.json", "[]"),
        ("environment.json", "{"),
        ("config.yaml", "- 1"),
        ("config.yaml", "a: &a b\nc: *a"),
        ("metrics.jsonl", '{"phase": "rl"\n{}\n'),
        ("metrics.jsonl", "[1]\n"),
        ("metrics.jsonl", '{"phase": "rl", "step": "x"}\n'),
    ],
)
def test_a_run_folder_of_another_make_is_not_resumed(tmp_path, capfd, name, content):
    config = write_config(tmp_path, max_steps=1, save_steps=1, cold_start_steps=0, eval_strategy="no")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "environment.json").write_text('{"processes": 1}')
    (run / "config.yaml").write_text(config.read_text())
    (run / name).write_text(content)
    assert launch(config, "--name", "run", "--resume") == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and name in errors[0]
