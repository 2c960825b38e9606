"""`backend: vllm` in training: TRL's own vLLM path, and what it needs, checked before any work.

TRL gives vLLM the new weights after every update and corrects for the difference between the two sides by importance
sampling. The options are TRL's: `vllm_mode` colocate (vLLM shares the training GPUs) or server, and the rest of
`vllm_*`. A rollout then depends on its batch and on what ran before, unlike the engine's.
"""

from dataclasses import fields

import httpx
import torch
from trl import GRPOConfig

from train.config.parse import RL_DEFAULTS
from train.config.run_config import RunConfig, world_size
from train.model.loading import resolve
from train.rollout.backends.vllm import require_vllm

SERVE = """VLLM_SERVER_DEV_MODE=1 vllm serve {model} --logprobs-mode processed_logprobs \
--weight-transfer-config '{{"backend": "nccl"}}'"""


def check_vllm(run: RunConfig, training: GRPOConfig) -> None:
    """Raise ValueError where `backend: vllm` could not train here, or where options of vLLM are set without it."""
    if run.backend != "vllm":
        refuse_idle_options(run, training)
        return
    require_vllm()
    if training.use_cpu or not torch.cuda.is_available():
        raise ValueError(
            "backend is vllm, which takes new weights on a CUDA GPU only, and there is none here, or use_cpu is set; "
            "use backend: engine."
        )
    check_settings(run, training)
    if training.vllm_mode == "server":
        check_server(training, resolve(run.model))


def check_settings(run: RunConfig, training: GRPOConfig) -> None:
    """Raise ValueError for settings that do not go together with vLLM."""
    if training.vllm_mode not in ("colocate", "server"):
        raise ValueError(f"vllm_mode is {training.vllm_mode!r}; expected colocate or server.")
    if run.cache_gib is not None:
        raise ValueError(
            f"cache_gib is {run.cache_gib}, but backend is vllm, which would ignore it; set "
            "vllm_gpu_memory_utilization."
        )
    if run.max_rows is not None:
        raise ValueError(f"max_rows is {run.max_rows}, but backend is vllm, which would ignore it; leave it out.")
    if run.model == "scratch" and not run.cold_start_steps:
        raise ValueError(
            "backend is vllm, which reads the model from a folder, but model is scratch without a cold start; set "
            "cold_start_steps, or use backend: engine."
        )
    if run.model == "scratch" and training.vllm_mode == "server":
        raise ValueError(
            "vllm_mode is server, but model is scratch, which no server can load before its cold start; use vllm_mode: "
            "colocate."
        )
    parallel = training.vllm_tensor_parallel_size
    if training.vllm_mode == "colocate" and world_size() % parallel:
        raise ValueError(
            f"vllm_tensor_parallel_size is {parallel}, which does not divide the {world_size()} processes launched."
        )


def check_server(training: GRPOConfig, model: str) -> None:
    """Raise ValueError unless a vLLM server that can take new weights answers."""
    url = training.vllm_server_base_url or f"http://{training.vllm_server_host}:{training.vllm_server_port}"
    start = f"start it with: {SERVE.format(model=model)}"
    try:
        answer = httpx.get(f"{url}/server_info", params={"config_format": "json"}, timeout=10)
    except httpx.HTTPError as error:
        raise ValueError(f"vllm_mode is server, but none answers at {url} ({type(error).__name__}); {start}") from None
    if answer.status_code != 200:
        raise ValueError(f"the vLLM server at {url} does not take new weights (no /server_info); {start}")
    settings = answer.json()["vllm_config"]
    if settings["weight_transfer_config"] is None:
        raise ValueError(f"the vLLM server at {url} has no weight-transfer engine; {start}")
    if settings["model_config"]["logprobs_mode"] != "processed_logprobs":
        mode = settings["model_config"]["logprobs_mode"]
        raise ValueError(f"the vLLM server at {url} returns {mode}, which biases the correction; {start}")


def refuse_idle_options(run: RunConfig, training: GRPOConfig) -> None:
    """Raise ValueError for an option of vLLM that another back end would ignore."""
    bounds = ("vllm_importance_sampling_clip_min", "vllm_importance_sampling_clip_max")
    for option in fields(GRPOConfig):
        value = getattr(training, option.name)
        if run.rollout_correction != "none" and option.name in bounds:
            continue
        if option.name.startswith("vllm_") and value != RL_DEFAULTS.get(option.name, option.default):
            raise ValueError(
                f"{option.name} is {value!r}, but backend is {run.backend}, which would ignore it; set backend: vllm, "
                "or leave it out."
            )
