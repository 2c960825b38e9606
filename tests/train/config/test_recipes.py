"""The recipes for GPUs: each is read as training reads it, launched as it says, and planned to what it says."""

import re
from pathlib import Path

import datasets
import pytest
from launching import ROOT, launch_arguments

from data.fixed_sets import rows
from train.config.parse import parse_config
from train.plan.make_plan import make_plan

RECIPES = sorted((ROOT / "configs" / "recipes").glob("*.yaml"))
TARGETS = {"qwen2.5-0.5b-math": ("36.7", "49.5"), "qwen2.5-1.5b-math": ("55.7", "74.4")}  # simpleRL-zoo, on GSM8K


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    """Sets with the columns that those on the hub have, and few rows."""

    def of_hub(source, subset, **_):
        gsm8k = [{"question": f"What is {n} + 1?", "answer": f"It is one more. #### {n + 1}"} for n in range(60)]
        levels = [f"Level {1 + n % 5}" for n in range(60)]
        math = [{"problem": f"What is $2 x {n}$?", "level": level, "solution": rf"It is \boxed{{{2 * n}}}."}
                for n, level in enumerate(levels)]  # fmt: skip
        made = datasets.Dataset.from_list(gsm8k if "gsm8k" in source else math)
        return {"train": made.select(range(40)), "test": made.select(range(40, 60))}

    monkeypatch.setattr(rows, "_of_hub", of_hub)


def commands(recipe: Path, start: str) -> list[list[str]]:
    """The commands in a recipe's head that begin so."""
    head = [line for line in recipe.read_text().splitlines() if line.startswith("#   ")]
    return [line[4:].split() for line in head if line[4:].startswith(start)]


def test_every_model_of_the_plan_has_its_recipe():
    assert [path.stem for path in RECIPES] == [
        "qwen2.5-0.5b-math", "qwen2.5-1.5b-math", "qwen2.5-3b-countdown", "qwen3-0.6b-math",
    ]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_launched_on_one_gpu_one_node_and_several_with_the_same_batch(recipe):
    given = commands(recipe, "accelerate launch")
    kinds, batches = [], set()
    for command in given:
        start = command.index("-m")
        assert command[2] == "--config_file" and command[start : start + 3] == ["-m", "train", "--config"]
        arguments = launch_arguments(Path(command[3]).stem, *command[4:start])
        kinds.append((arguments.num_machines, arguments.num_processes))
        run, training = parse_config(["--config", *command[start + 3 :]])
        assert run.name == recipe.stem
        batches.add(training.per_device_train_batch_size * training.steps_per_generation * arguments.num_processes)
    assert kinds == [(1, 1), (1, 8), (2, 16)]
    assert len(batches) == 1


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_is_planned_and_that_it_was_not_run(recipe):
    text = recipe.read_text()
    assert "Not run here" in text
    assert all(figure in text for figure in TARGETS.get(recipe.stem, ()))
    (command,) = commands(recipe, "python scripts/plan.py")
    options = dict(zip(command[3::2], command[4::2], strict=True))
    planned, fits = make_plan(
        Path(command[2]),
        gpu=options["--gpu"],
        mean=float(options["--mean_tokens"]),
        prompt=int(options["--prompt_tokens"]),
    )
    assert fits
    said, now = (re.search(f"{name}: (.*)", where)[1] for name, where in (("Planned", text), ("In short", planned)))
    figures = [[float(figure) for figure in re.findall(r"[\d.]*\d", line)] for line in (said, now)]
    assert re.sub(r"[\d.]*\d", "N", said) == re.sub(r"[\d.]*\d", "N", now)
    assert figures[0] == pytest.approx(figures[1], rel=0.05)
