"""What the files of a PEFT adapter must hold, so that the model loaded from them is the one that was trained."""

from collections.abc import Mapping
from typing import Any

OWN_LOSS = ("ADALORA", "kasa_config", "monteclora_config")  # of PEFT's types, and of LoRA's settings


def refused_settings(config: Mapping[str, Any], is_trainable: bool) -> str | None:
    """Why an adapter would be another at each loading, or cannot be trained further: its loss has terms of its own."""
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.startswith("pissa_niter"):
        return (
            f"began as {begun}, a random decomposition of its base model, which PEFT would draw anew; save it as plain "
            "LoRA (`path_initial_model_for_weight_conversion`), or merge it."
        )
    own_loss = next((name for name in OWN_LOSS if config.get(name) or config.get("peft_type") == name), None)
    if own_loss and is_trainable:
        return (
            f"is of kind {own_loss}, whose training adds terms of its own to the loss, which are not computed here; "
            "merge it into its base model, and train that."
        )
    return None


def differing_weights(saved: set[str], held: set[str], own: set[str]) -> list[str]:
    """The weights of an adapter that its file alone (`saved`) or the model alone (`held`) has.

    They are compared by the part of the name that no version of PEFT changed. Experts' are left out: PEFT may fuse them
    as it reads them. The file may also hold weights of the base model, such as embeddings, by their `own` names.
    """

    def places(keys: set[str]) -> set[str]:
        plain = (key.replace(".base_layer.", ".") for key in keys if ".experts." not in key)
        names = (key.removeprefix("base_model.model.") for key in plain)
        return {name.partition(".layers.")[2] or name for name in names}

    return sorted((places(held) - places(saved)) | (places(saved) - places(held) - places(own)))
