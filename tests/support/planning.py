"""A small run and its workload, to be planned."""

from train.config.run_config import RunConfig
from train.plan.workload import Workload

SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}


def a_run(**settings):
    """A run of a scratch model with six layers, or with other settings."""
    return RunConfig(name="x", tasks={"countdown": {}}, **{"scratch": SIZES | {"num_hidden_layers": 6}} | settings)


def a_workload(**changes):
    """Two micro-batches of four short rollouts."""
    work = {
        "rows": 4, "micro_batches": 2, "samples": 4, "prompt": 8, "mean": 12.0, "most": 16, "bf16": False,
        "checkpointing": False, "eight_bit_optimiser": False, "steps": 5,
    }  # fmt: skip
    return Workload(**work | changes)
