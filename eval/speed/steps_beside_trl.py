"""Whole RL steps of our trainer beside those of TRL's stock GRPOTrainer, for scripts/bench_step.py."""

import copy
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import PrinterCallback
from trl import GRPOTrainer

from train.config.parse import parse_config
from train.config.run_config import RunConfig
from train.model.prompts import stop_ids
from train.model.start import adapters, start_model
from train.rewards.correctness import CorrectnessReward
from train.rewards.rollout_log import RolloutLog
from train.run import problem_dataset
from train.trainer import ReasoningTrainer

PHASES = ("rollouts", "rewards", "scoring", "loss", "update")


class Timed:
    """Seconds of each phase of each step of a GRPOTrainer, and the gradients that its first steps made."""

    seconds: list[dict[str, float]]
    gradients: list[dict[str, torch.Tensor]]

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """The optimizer, with hooks that record an update's time and the gradients before it."""
        self.seconds, self.gradients = [dict.fromkeys(PHASES, 0.0)], []
        optimizer = super().create_optimizer(*args, **kwargs)  # type: ignore[misc]
        optimizer.register_step_pre_hook(lambda *_: self._before_update())
        optimizer.register_step_post_hook(lambda *_: self._after_update())
        return optimizer

    def _before_update(self) -> None:
        parameters = self.model.named_parameters()  # type: ignore[attr-defined]
        self.gradients.append({name: p.grad.clone() for name, p in parameters if p.grad is not None})
        self._update_started = time.perf_counter()

    def _after_update(self) -> None:
        self.seconds[-1]["update"] += time.perf_counter() - self._update_started
        self.seconds.append(dict.fromkeys(PHASES, 0.0))

    @contextmanager
    def _phase(self, name: str, *within: str) -> Iterator[None]:
        """Count the time inside as `name`'s, less that of the phases `within` it."""
        now = self.seconds[-1]
        before, started = sum(now[other] for other in within), time.perf_counter()
        yield
        now[name] += time.perf_counter() - started - (sum(now[other] for other in within) - before)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with self._phase("rollouts"):
            return super()._generate_single_turn(*args, **kwargs)  # type: ignore[misc]

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        with self._phase("rewards"):
            return super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        with self._phase("scoring", "rollouts", "rewards"):
            return super()._generate_and_score_completions(*args, **kwargs)  # type: ignore[misc]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """A micro-batch; the first of a step samples the rollouts as well."""
        with self._phase("loss", "rollouts", "rewards", "scoring"):
            return super().training_step(*args, **kwargs)  # type: ignore[misc]


class Ours(Timed, ReasoningTrainer):
    """Our trainer; its rollouts are kept for the other."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        result = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self.__dict__.setdefault("rollouts", []).append((prompt_ids, result[0]))
        return result


class Stock(Timed, GRPOTrainer):
    """TRL's trainer; it draws its own rollouts, and continues with those of ours."""

    rollouts: list[Any]
    own_tokens: list[int]

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        own, _ = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self.own_tokens.append(sum(map(len, own)))
        prompts, completions = self.rollouts.pop(0)
        if prompts != prompt_ids:
            raise RuntimeError("The two trainers drew different problems; their steps cannot be compared.")
        return completions, None


def bench(options: list[str], steps: int) -> dict[str, Any]:
    """Train `steps` steps each way and put the seconds, tokens and gradients side by side."""
    run, training = parse_config(options)
    check_comparable(run)
    training.max_steps, training.learning_rate, training.max_grad_norm = steps + 1, 0.0, 0.0
    training.eval_strategy, training.save_strategy = "no", "no"
    weights, tokenizer = start_model(run, training.seed, training.chat_template_kwargs)
    problems = problem_dataset(run, "train", run.train_problems, training.seed)
    result: dict[str, Any] = {}
    for name, kind in (("ours", Ours), ("stock", Stock)):
        with tempfile.TemporaryDirectory() as folder:
            model = copy.deepcopy(weights)
            training.output_dir = folder
            torch.manual_seed(training.seed)  # adapters start from the same numbers
            trainer = kind(
                model=model,
                reward_funcs=CorrectnessReward(tokenizer, stop_ids(model, tokenizer), RolloutLog(Path(folder) / "log")),
                args=copy.deepcopy(training),
                train_dataset=problems,
                processing_class=tokenizer,
                peft_config=None if hasattr(model, "peft_config") else adapters(run),
            )
            trainer.remove_callback(PrinterCallback)
            if name == "stock":
                trainer.rollouts, trainer.own_tokens = list(result["ours"].rollouts), []
            print(f"{name}: {steps + 1} steps ...", file=sys.stderr, flush=True)
            trainer.train()
            result[name] = trainer
    return compare(result["ours"], result["stock"])


def check_comparable(run: RunConfig) -> None:
    """Refuse options that stock TRL lacks, under which the two would not do the same. Raises ValueError."""
    if run.dynamic_sampling:
        raise ValueError("dynamic_sampling is set, which stock TRL does not do; set it to false to compare the rest.")
    if run.thinking_budget is not None:
        raise ValueError(
            f"thinking_budget is {run.thinking_budget}, which stock TRL does not keep to; leave it out to compare the "
            "rest."
        )
    if run.backend == "vllm":
        raise ValueError("backend is vllm, and both trainers would sample by it; use backend: engine.")


def compare(ours: Ours, stock: Stock) -> dict[str, Any]:
    """Median seconds a phase, their ratio, and how far the gradients lie apart."""
    seconds = {
        name: {phase: median(step[phase] for step in trainer.seconds[1:-1]) for phase in PHASES}
        for name, trainer in (("ours", ours), ("stock", stock))
    }
    totals = {name: sum(phases.values()) for name, phases in seconds.items()}
    pairs = list(zip(ours.gradients, stock.gradients, strict=True))
    gap = max(float((a[name] - b[name]).abs().max()) for a, b in pairs for name in b)
    largest = max(float(gradient.abs().max()) for _, b in pairs for gradient in b.values())
    tokens = [sum(map(len, completions)) for _, completions in ours.rollouts]
    return {
        "rows": len(ours.rollouts[0][0]),
        "steps": len(tokens) - 1,
        "threads": torch.get_num_threads(),
        "tokens": {"ours": median(tokens[1:]), "stock": median(stock.own_tokens[1:])},
        "seconds": {name: phases | {"total": totals[name]} for name, phases in seconds.items()},
        "ratio": totals["stock"] / totals["ours"],
        "max_gradient_gap": gap if largest else None,  # gradients that are all zero compare nothing
        "largest_gradient": largest,
    }
