"""The probe script as a user calls it."""

import yaml


def test_the_script_probes_a_checkpoint_and_prints_a_table(tmp_path, checkpoint, script):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"tasks": {"countdown": {}}, "max_completion_length": 8}))
    few = ("--problems", 3, "--output", tmp_path / "o")
    done = script("probe", "--checkpoint", checkpoint, "--config", config, *few)
    assert done.returncode == 0, done.stderr
    assert "Precision and recall" in done.stdout and "Monitor" in done.stdout
    assert (tmp_path / "o" / "probes.json").is_file()


def test_what_is_no_run_is_one_clear_line(tmp_path, script):
    done = script("probe", "--run", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "not a run folder" in done.stderr and done.stderr.count("\n") == 1
