"""Dropout: the loss must see the policy that sampled, so a model that drops out at random is not trained as it is."""

import torch

from train.rollout.support import model_name

PROBE_TOKENS = 8


def disable_dropout(model: torch.nn.Module) -> None:
    """Set every dropout of `model` to 0: its modules, as TRL does, and the rates that layers keep as numbers."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and type(value) is float:
                setattr(module, name, 0.0)


def refuse_dropout(model: torch.nn.Module, disabled: bool) -> None:
    """Raise ValueError where two forwards of `model` in train mode differ; `disabled` says that dropout is to be off.

    Leaves modes and random states as they were.
    """
    if disabled:
        disable_dropout(model)
    modes = [(module, module.training) for module in model.modules()]
    weight = next(model.parameters())
    ids = torch.arange(PROBE_TOKENS, device=weight.device).unsqueeze(0)
    try:
        model.train()
        devices = [weight.device] if weight.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            one, other = (model(input_ids=ids, use_cache=False).logits for _ in range(2))
    finally:
        for module, training in modes:
            module.training = training
    if one.equal(other) and not _drops_layers(model):
        return
    if disabled:
        raise ValueError(
            f"{model_name(model)} gives another result at each forward in train mode, with disable_dropout too: it "
            "reads a dropout rate or a router's jitter from its config.json. Set that to 0 there."
        )
    raise ValueError(
        f"{model_name(model)} has dropout, so the loss would be of another policy than the one that samples; set "
        "disable_dropout: true."
    )


def _drops_layers(model: torch.nn.Module) -> bool:
    """Whether whole layers are dropped at random. Two forwards may drop the same ones, so the rate is read."""
    rates = (value for module in model.modules() for name, value in vars(module).items() if "layerdrop" in name)
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
