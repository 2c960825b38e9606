"""Real training steps beside the plan of them: memory and processor time of each phase, for scripts/bench_plan.py."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean, mean, median
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from transformers import PrinterCallback

from data.terminal import quiet_libraries
from train.config.parse import parse_config
from train.model.start import adapters, start_model
from train.plan.costs import Costs
from train.plan.processor import Processor, probe
from train.plan.step_plan import plan_cache, plan_memory, plan_times
from train.plan.workload import read_workload
from train.run import problem_dataset
from train.trainer import ReasoningTrainer

PHASES = ("rollouts", "loss", "update")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Lottery:
    """Rewards every second rollout, so that no group is silent."""

    __name__ = "lottery"

    def __call__(self, *, completion_ids: list[list[int]], **_: Any) -> list[float]:
        """A reward for each completion."""
        return [float(number % 2) for number in range(len(completion_ids))]


class Watched(ReasoningTrainer):
    """Records for each phase of each step its processor seconds and the most memory that the process held."""

    def watch(self, look: Any) -> None:
        """Have `look()` called between phases; what it returns is kept with the phase that follows."""
        self.look = look
        self.phases: list[dict[str, Any]] = []
        self.lengths_drawn: list[tuple[int, list[int]]] = []  # of the prompt, and of the completions
        self._begin()

    def _begin(self) -> None:
        self._first_look = self.look()
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            CLEAR.write_text("5")  # the peak is counted from here
        self._started = time.process_time()

    def _end(self, name: str) -> None:
        seconds = time.process_time() - self._started
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_reserved()
        else:
            peak = next(int(row.split()[1]) for row in STATUS.read_text().splitlines() if row.startswith("VmHWM")) << 10
        self.phases.append({"phase": name, "seconds": seconds, "peak": peak, "looks": (self._first_look, self.look())})
        self._begin()

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """A trainer with hooks that separate the loss from the update."""
        optimizer = super().create_optimizer(*args, **kwargs)
        optimizer.register_step_pre_hook(lambda *_: self._end("loss"))
        optimizer.register_step_post_hook(lambda *_: self._end("update"))
        return optimizer

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        self._begin()
        result = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self._end("rollouts")
        self.lengths_drawn.append((len(prompt_ids[0]), [len(ids) for ids in result[0]]))
        return result


def take_steps(arguments: list[str], steps: int, look: Any) -> Watched:
    """Train `steps` steps of the config with every rollout rewarded by lot."""
    run, training = parse_config(arguments)
    training.max_steps, training.learning_rate = steps, 0.0
    training.eval_strategy, training.save_strategy, training.mask_truncated_completions = "no", "no", False
    model, tokenizer = start_model(run, training.seed, training.chat_template_kwargs)
    with tempfile.TemporaryDirectory() as folder:
        training.output_dir = folder
        trainer = Watched(
            model=model,
            reward_funcs=Lottery(),
            args=training,
            train_dataset=problem_dataset(run, "train", run.train_problems, training.seed),
            processing_class=tokenizer,
            peft_config=adapters(run),
            cache_gib=run.cache_gib,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.watch(look)
        trainer.train()
    return trainer


def measure_memory(arguments: list[str], steps: int) -> dict[str, Any]:
    """The most memory in each phase over the steps, and the lengths drawn."""
    trainer = take_steps(arguments, steps, lambda: None)
    peaks = {name: max(each["peak"] for each in trainer.phases if each["phase"] == name) for name in PHASES}
    return {"peaks": peaks, "lengths": trainer.lengths_drawn}


def measure_time(arguments: list[str], steps: int) -> dict[str, Any]:
    """Processor seconds of each phase after the first step, and the plan's prediction from the probes around it."""
    costs = make_costs(arguments, None)
    works = [(costs.decodes[-1].work, True), (costs.decodes[0].work, True), (costs.losses[-1][1], False)]
    trainer = take_steps(arguments, steps + 1, lambda: probe(works, 2.0))
    rows = []
    for step, (prompt, lengths) in enumerate(trainer.lengths_drawn):
        if not step:
            continue
        costs = make_costs(arguments, (prompt, lengths))
        phases = {each["phase"]: each for each in trainer.phases[step * len(PHASES) :][: len(PHASES)]}
        predictions = {
            name: geometric_mean(max(1e-9, getattr(planned_times(costs, look), name)) for look in phases[name]["looks"])
            for name in PHASES
        }
        seconds = {name: phases[name]["seconds"] for name in PHASES}
        rows.append({"planned": predictions, "measured": seconds, "tokens": sum(lengths)})
    return {"steps": rows}


def planned_times(costs: Costs, processor: Processor) -> Any:
    """The plan's times on `processor`, in processor seconds of one thread."""
    return plan_times(costs, processor, plan_cache(costs, processor))


def make_costs(arguments: list[str], drawn: tuple[int, list[int]] | None) -> Costs:
    """The plan's costs, for the prompt and the completions of the step that were drawn."""
    run, training = parse_config(arguments)
    prompt, lengths = drawn or (None, [])
    work = read_workload(run, training, bf16=training.bf16, mean=mean(lengths) if lengths else None, prompt=prompt)
    return Costs(run, replace(work, lengths=tuple(lengths)), gpu=torch.cuda.is_available() and not training.use_cpu)


def bench(arguments: list[str], steps: int) -> dict[str, Any]:
    """Measure in two processes, plan in this one, and put both side by side."""
    memory, timed = (child(name, arguments, steps) for name in ("memory", "time"))
    costs = make_costs(arguments, max(memory["lengths"], key=lambda drawn: sum(drawn[1])))
    processor = Processor(memory=float(psutil.virtual_memory().total), threads=1, call=0.0)
    plan = plan_memory(costs, processor, plan_cache(costs, processor))
    result: dict[str, Any] = {"memory": {}, "time": {}}
    for name in ("rollouts", "loss"):
        result["memory"][name] = (sum(plan.phases[name].values()), memory["peaks"][name])
    result["memory"]["peak"] = (plan.peak, max(memory["peaks"].values()))
    for name, phases in (("rollouts", ("rollouts",)), ("training", ("loss", "update"))):
        seconds = [
            tuple(sum(step[side][phase] for phase in phases) for side in ("planned", "measured"))
            for step in timed["steps"]
        ]
        tokens = median(step["tokens"] for step in timed["steps"])
        result["time"][name] = tuple(tokens / median(each[side] for each in seconds) for side in (0, 1))
    return result


def child(what: str, arguments: list[str], steps: int) -> dict[str, Any]:
    """Run one measurement in a process of its own. Raises ValueError where it fails."""
    # Processor times of several threads add up, and threads that wait for others spin.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    words = [sys.executable, "-m", __name__, what, str(steps), *arguments]
    process = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=one_thread)
    if process.returncode:
        raise ValueError(f"the measurement of {what} ended with exit code {process.returncode}.")
    return json.loads(process.stdout.splitlines()[-1])


if __name__ == "__main__":
    quiet_libraries()
    measure = {"memory": measure_memory, "time": measure_time}[sys.argv[1]]
    print(json.dumps(measure(sys.argv[3:], int(sys.argv[2]))))
