"""A step whose layers are compiled, for families that the fused layers do not compute."""

import torch

from train.rollout.module_state import engine_mode
from train.rollout.paged.attention import Kernel
from train.rollout.paged.compiled.layers import CompiledLayers, NotCompilable
from train.rollout.paged.fingerprint import structure
from train.rollout.paged.forwards import ModuleForward
from train.rollout.paged.fused.trial import COUNT, WHOLE, CausalAttention, trial_tokens
from train.rollout.schedule.requests import vocabulary_size


class CompiledForward(ModuleForward):
    """The module with its layers compiled, with attention over pages; see `Forward`.

    `reason` says why it is not the fused layers. Everything is compiled here, for one token and for several. Raises
    NotCompilable where the module's logits come out different, and whatever the compiler raises.
    """

    as_is = True

    def __init__(self, model: torch.nn.Module, kernels: list[Kernel], dtype: torch.dtype, reason: str) -> None:
        super().__init__(model, kernels, dtype, reason)
        self.structure = structure(model)
        self.run = CompiledLayers(model, len(kernels))
        for count in (COUNT, 1):
            self._try(count)
        self.name = f"compiled layers ({reason})"

    def _try(self, count: int) -> None:
        """Raise NotCompilable where `count` tokens give other logits than the module's own layers."""
        device = next(self.model.parameters()).device
        tokens = trial_tokens(vocabulary_size(self.model), device)[:, :count]
        places = torch.arange(count, device=device).unsqueeze(0)
        with engine_mode(self.model):
            own, compiled = (
                run(input_ids=tokens, position_ids=places, use_cache=False, rollout_pass=CausalAttention())
                .logits[0]
                .float()
                for run in (self.model, self.run)
            )
        gap = float((compiled - own).pow(2).mean().sqrt() / own.std().clamp(min=1e-12))
        if not gap <= WHOLE[self.dtype]:
            raise NotCompilable(f"its logits differ by {gap:.1e} of their spread from the compiled ones")
