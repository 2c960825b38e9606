"""Muon: the momentum of every weight matrix is orthogonalised before it is applied (Jordan et al. 2024).

torch.optim.Muon works in bfloat16, which is slow on most CPUs, and a matrix at a time. Here matrices of one shape are
taken together, in their own precision.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a quintic that is steep at 0 (Jordan et al. 2024)
ITERATIONS = 5
UPDATE_RMS = 0.5  # of an update, times lr. AdamW's is about 0.2 (arXiv 2502.16982); a small model takes more


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of a model's layers and Adam for the rest: embeddings, head, gains and biases.

    Both take an `lr` that suits AdamW, since an update of Muon is scaled to about the size of one of AdamW's. There is
    no weight decay.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        matrices, rest = split_parameters(model)
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps}
        groups = [{"params": matrices, "orthogonal": True}, {"params": rest, "orthogonal": False}]
        super().__init__([group for group in groups if group["params"]], defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["orthogonal"]:
                self._orthogonal_step(group, parameters)
            else:
                self._adam_step(group, parameters)
        return loss

    def _orthogonal_step(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        shapes = defaultdict(list)
        for parameter in parameters:
            shapes[parameter.shape].append(parameter)
        for (rows, columns), alike in shapes.items():
            gradients = torch.stack(
                [parameter.grad for parameter in alike if parameter.grad is not None]
            )  # (matrices, rows, columns)
            averages = torch.stack([self._of(parameter, "momentum") for parameter in alike])
            averages.lerp_(gradients, 1 - group["momentum"])
            updates = orthogonal(gradients.lerp_(averages, group["momentum"]))  # Nesterov's look ahead
            scale = group["lr"] * UPDATE_RMS * max(rows, columns) ** 0.5
            for parameter, average, update in zip(alike, averages, updates, strict=True):
                self.state[parameter]["momentum"].copy_(average)
                parameter.sub_(update, alpha=scale)

    def _adam_step(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        first, second = group["betas"]
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            mean, square = self._of(parameter, "exp_avg"), self._of(parameter, "exp_avg_sq")
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            spread = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
            parameter.addcdiv_(mean, spread, value=-group["lr"] / (1 - first ** state["step"]))

    def _of(self, parameter: nn.Parameter, name: str) -> torch.Tensor:
        """A running average of the parameter's gradients, zero at first."""
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        return state[name]


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable matrices of linear layers, and all other trainable parameters.

    An embedding is a table and no matrix, and so is a head, tied to it or not: a row for each token.
    """
    vocabulary = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    whole = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    head = getattr(whole, "get_output_embeddings", lambda: None)()
    if head is not None:
        vocabulary.add(id(head.weight))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim == 2 and id(parameter) not in vocabulary]
    ids = {id(parameter) for parameter in matrices}
    return matrices, [parameter for parameter in trained if id(parameter) not in ids]


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Each of `matrices` (count, rows, columns) with singular values near 1, between 0.7 and 1.2.

    Newton and Schulz's iteration: it needs products alone, and no decomposition.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
