"""The run folder: what it holds, when it may be written, and what it records of the machine.

runs/NAME/config.yaml        the resolved configuration; `--config` reads it back
runs/NAME/environment.json   versions, git commit, hardware, seed, the SHA-256 of config.yaml
runs/NAME/contamination.json how far held-out problems overlap with training ones
runs/NAME/metrics.jsonl      one line a logged step; metrics-000.jsonl, ... hold older ones of a very long run
runs/NAME/rollouts.parquet/  one part a step and process; read the folder as one table
runs/NAME/tensorboard/       curves; those of the cold start in a folder of their own below
runs/NAME/checkpoints/       cold-start, checkpoint-10, checkpoint-20, ...
runs/NAME/model/             at the end: what is to be published, with a model card
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from trl import GRPOConfig

from data.paths import user_path
from train.config.launch import find_launch
from train.config.parse import resolved, save_config
from train.config.run_config import RunConfig, world_size
from train.files.atomic import write_text
from train.files.checkpoints import COLD_START
from train.files.recorded_config import add_digest, read_run_config
from train.files.untrusted import metrics_parts, read_json, read_metrics, read_metrics_part
from train.lifecycle.overwriting import set_aside

PACKAGES = ("rethink", "torch", "transformers", "trl", "accelerate", "peft", "datasets", "numpy")
# What may change when a run goes on: how long, what is shown, what is kept. All else would make it another run.
FREE = (
    "name", "runs_dir", "contamination", "max_steps", "num_train_epochs", "guard_fraction", "nonfinite_limit",
    "disable_tqdm", "report_to", "run_name", "per_device_eval_batch_size", "metric_for_best_model", "greater_is_better",
    "load_best_model_at_end", "keep_last", "keep_best", "dataloader_pin_memory", "dataloader_num_workers",
    "dataloader_persistent_workers", "dataloader_prefetch_factor",
)  # fmt: skip
FREE_PREFIXES = ("logging_", "log_", "save_", "eval_", "hub_", "push_to_hub", "trackio_", "project", "ddp_")


def refuse_existing(run: RunConfig) -> None:
    """Raise ValueError where the run's folder and its flags do not go together; changes nothing."""
    folder = run.folder
    is_run = (folder / "config.yaml").is_file()
    if run.resume and not is_run:
        raise ValueError(f"There is no run to resume at {folder}; leave out --resume to start it.")
    if run.resume or not folder.exists() or not any(folder.iterdir()):
        return
    if not run.overwrite:
        raise ValueError(
            f"The run folder {folder} exists already. Give --resume to go on with it, --overwrite to delete it and "
            "start anew, or another --name."
        )
    if not is_run:
        raise ValueError(f"{folder} holds files but no config.yaml, so it is not a run; it is not overwritten.")
    if user_path(run.model).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"--overwrite would delete the model to start from, {run.model}; give another --name.")


def refuse_changes(run: RunConfig, training: GRPOConfig) -> None:
    """Raise ValueError, naming the options, where the run would go on under other settings than it began with."""
    environment, began = read_json(run.folder / "environment.json"), read_run_config(run.folder / "config.yaml")
    for name, kind in (("metrics.jsonl", "file"), ("rollouts.parquet", "folder"), ("checkpoints", "folder")):
        path = run.folder / name
        if path.exists() and path.is_dir() != (kind == "folder"):
            raise ValueError(f"{path} is no {kind}, so it is not as `train` left it; put it back, or move it away.")
    rows = read_metrics(run.folder / "metrics.jsonl")
    if not isinstance(began, dict) or not isinstance(environment, dict) or "processes" not in environment:
        raise ValueError(f"{run.folder} is not as `train` left it: config.yaml or environment.json is another.")
    last = max((row["step"] for row in rows if row["phase"] == "rl"), default=0)
    _refuse_lost(run.folder / "checkpoints", began, last)
    processes = environment["processes"]
    if world_size() != processes:
        raise ValueError(f"The run began with {processes} processes, and this would go on with {world_size()}.")
    kind = find_launch().kind
    if environment.get("launch", kind) != kind:
        raise ValueError(
            f"The run began with {environment['launch']}, and this would go on with {kind}, which writes other "
            "checkpoints; launch it as before."
        )
    now = yaml.safe_load(yaml.safe_dump(resolved(run, training)))
    # Where an option is newer than the run, the run began with its default.
    defaults = {option.name: option.default for option in fields(RunConfig) if option.default is not MISSING}
    began = {name: default for name, default in defaults.items() if name in now} | began
    free = (*FREE, "gradient_checkpointing") if run.plan_checkpointing else FREE  # as memory allows at each start
    differing = [
        f"{name} was {began.get(name, 'left out')!r} and is {now.get(name, 'left out')!r}"
        for name in sorted(began.keys() | now.keys())
        if began.get(name) != now.get(name) and name not in free and not name.startswith(FREE_PREFIXES)
    ]
    if differing:
        raise ValueError(
            f"--resume goes on with the settings that the run began with, but {'; '.join(differing)}. Put them "
            "back, or start another run with --name."
        )


def _refuse_lost(checkpoints: Path, began: dict[str, Any], last: int) -> None:
    """Raise ValueError where all checkpoints are gone: the run would start anew, and its records would be dropped.

    `last` is the last step that the run has logged, under the configuration `began`. Where the cold start is left, it
    may be meant to begin from that again.
    """
    every = began.get("save_steps", GRPOConfig.__dataclass_fields__["save_steps"].default)
    saved = began.get("save_strategy") == "steps" and every >= 1 and last > every
    if saved and not any(checkpoints.glob("checkpoint-*")) and not (checkpoints / COLD_START).is_dir():
        raise ValueError(
            f"{checkpoints} holds no checkpoint, but the run has logged {last} steps and saved one every {every:g}; "
            "put them back, or give --overwrite to start anew."
        )


def other_versions(folder: Path) -> str | None:
    """A line that names the packages whose versions are not those that the run in `folder` began with."""
    began = read_json(folder / "environment.json").get("packages") or {}
    other = [
        f"{name} {began[name]} -> {now}"
        for name in PACKAGES
        if name in began and (now := _version(name)) != began[name]
    ]
    if not other:
        return None
    return (
        f"warning: the run goes on with other versions than it began with ({', '.join(other)}); its numbers may no "
        "longer be those of an unbroken run."
    )


def make_folder(
    run: RunConfig,
    training: GRPOConfig,
    contamination: dict[str, Any] | None = None,
    digests: dict[str, dict[str, str]] | None = None,
) -> None:
    """Make the run folder and record the run in it; a run that is resumed has its configuration written anew.

    The folder appears whole, by renaming: one without its records could be neither resumed nor started over. The run
    that it overwrites is kept aside until `overwriting.ForgetOverwritten` deletes it.
    Raises ValueError where it cannot be written.
    """
    fresh = run.folder.with_name(f".{run.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.unlink(missing_ok=True)
        if run.resume:
            for folder in (run.folder, run.folder / "checkpoints", run.folder / "rollouts.parquet"):
                if folder.is_dir():
                    with tempfile.TemporaryFile(dir=folder):
                        pass
            save_config(run, training, fresh)
            add_digest(run.folder / "environment.json", fresh)  # before it is in place: a kill between harms nothing
            fresh.replace(run.folder / "config.yaml")
            return
        (fresh / "checkpoints").mkdir(parents=True)
        save_config(run, training, fresh / "config.yaml")
        write_environment(fresh / "environment.json", training.seed, digests)
        add_digest(fresh / "environment.json", fresh / "config.yaml")
        if contamination is not None:
            (fresh / "contamination.json").write_text(json.dumps(contamination, indent=2, ensure_ascii=False) + "\n")
        if run.overwrite and run.folder.exists():
            set_aside(run)
        fresh.rename(run.folder)
    except OSError as error:
        raise ValueError(f"The run folder {run.folder} cannot be written: {error.strerror}.") from None


def check_disk(folder: Path, checkpoint_bytes: int) -> None:
    """Refuse to start where not even two checkpoints fit, since one is written before another is removed."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < 2 * checkpoint_bytes:
        raise ValueError(
            f"Only {free / 2**20:,.0f} MiB are free at {folder}, and one checkpoint takes about "
            f"{checkpoint_bytes / 2**20:,.0f} MiB; free space for two, or set --runs_dir to a larger disk."
        )


def checkpoint_bytes(model: torch.nn.Module, launch: str) -> int:
    """Bytes of one checkpoint: what is saved of the weights, and AdamW's two moments of what is trained.

    FSDP and DeepSpeed, if that is the kind of `launch`, keep the weights a second time, for themselves.
    """
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return (3 if launch in ("one process", "DDP") else 4) * trained


def truncate_metrics(path: Path, phase: str, step: int) -> None:
    """Drop the lines of `phase` later than `step`, and its closing summary: a resumed run will write them anew.

    Copies of a line are dropped too; curves would count its step twice. Lines are sorted by phase and step.
    """
    seen: set[str] = set()
    for part in metrics_parts(path):
        lines = [
            json.dumps(row) + "\n"
            for row in sorted(read_metrics_part(part), key=lambda row: (row["phase"] != "cold-start", row["step"]))
            if row["phase"] != phase or (row["step"] <= step and "train_runtime" not in row)
        ]
        write_text(part, "".join(line for line in dict.fromkeys(lines) if line not in seen))
        seen.update(lines)


def write_environment(path: Path, seed: int, digests: dict[str, dict[str, str]] | None = None) -> None:
    """Record what a reader needs to tell this run from another: versions, commit, hardware, seed, time.

    `digests` are of the problems and the sources that a resumed run must go on with.
    """
    record = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        **(digests or {}),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changes": bool(_git("status", "--porcelain")),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
        "launch": find_launch().kind,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
