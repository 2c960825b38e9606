"""Whoever samples a model asks the same gate: each script refuses the same models in one line, and leaves nothing."""

import pytest
import yaml
from peft import PromptTuningConfig, get_peft_model

from train.files.checkpoints import seal

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
SCRIPTS = {
    "evaluate": ["--checkpoint", "MODEL", "--config", "CONFIG", "--problems", "2", "--output", "OUT"],
    "probe": ["--checkpoint", "MODEL", "--config", "CONFIG", "--problems", "2", "--output", "OUT"],
    "collect": ["--teacher", "MODEL", "--config", "CONFIG", "--problems", "2", "--output", "OUT/traces.jsonl"],
    "chat": ["MODEL", "--config", "CONFIG"],
    "serve": ["MODEL", "--config", "CONFIG", "--port", "0"],
}
FAULTS = {
    "system": "the chat template refuses a system message",
    "end": "the chat template ends a turn with '<|user|>', but a completion stops at '<|end|>' alone",
    "adapter": "its adapter 'default' is of kind PROMPT_TUNING",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_refuses_what_training_refuses(
    tmp_path, checkpoint, tiny_model, tokenizer, script, monkeypatch, name, fault
):
    template = tokenizer.chat_template
    if fault == "system":
        monkeypatch.setattr(tokenizer, "chat_template", NO_SYSTEM + template)
    elif fault == "end":
        monkeypatch.setattr(tokenizer, "chat_template", template.replace("<|end|>", "<|user|>"))
    else:
        adapter = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        tiny_model.name_or_path = str(checkpoint)
        adapted = tmp_path / "adapted"
        get_peft_model(tiny_model, adapter).save_pretrained(adapted)
        checkpoint = adapted
    tokenizer.save_pretrained(checkpoint)
    system = "numbers" if fault == "system" else ""
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(
        yaml.safe_dump({"tasks": {"arithmetic": {}}, "system_prompt": system, "max_completion_length": 8})
    )
    words = {"MODEL": str(checkpoint), "CONFIG": str(config)}
    arguments = [words.get(word, word.replace("OUT", str(out))) for word in SCRIPTS[name]]
    done = script(name, *arguments)
    assert done.returncode == 2
    assert FAULTS[fault] in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not out.exists()


def test_what_another_program_is_to_read_must_be_whole(tmp_path, script):
    """The harness looks at no seal."""
    run = tmp_path / "run"
    for name in ("cold-start", "checkpoint-1"):
        (run / "checkpoints" / name).mkdir(parents=True)
        (run / "checkpoints" / name / "model.safetensors").write_bytes(b"weights")
        seal(run / "checkpoints" / name)
    (run / "config.yaml").write_text(
        yaml.safe_dump(
            {"name": "run", "model": "scratch", "tasks": {"arithmetic": {}}, "cold_start_steps": 1, "use_cpu": True}
        )
    )
    (run / "checkpoints" / "checkpoint-1" / "model.safetensors").write_bytes(b"weighty")
    done = script("export_harness", "--run", run, "--problems", "2")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "checkpoint-1 is not a whole checkpoint: model.safetensors is damaged" in done.stderr
    assert not (run / "harness").exists()
