"""AdamW (Loshchilov and Hutter, ICLR 2019) over PyTorch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """What `torch.optim.AdamW(..., fused=True)` computes, bit for bit.

    Not that class itself: the first optimizer made in a process imports torch's compiler, which takes four seconds and
    compiles nothing here.

    Args:
        parameters: float32 tensors on one device; those that need no gradient are passed over.
        weight_decay: decoupled from the gradient, times the learning rate at each step.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], *, weight_decay: float) -> None:
        import torch

        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._weight_decay = weight_decay
        self._state = [
            (
                torch.zeros_like(parameter, memory_format=torch.preserve_format),
                torch.zeros_like(parameter, memory_format=torch.preserve_format),
                torch.zeros((), dtype=torch.float32, device=parameter.device),
            )
            for parameter in self._parameters
        ]

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self, learning_rate: float) -> None:
        """Move every parameter that has a gradient."""
        import torch

        moved = [
            (parameter, parameter.grad, *state)
            for parameter, state in zip(self._parameters, self._state, strict=True)
            if parameter.grad is not None
        ]
        if not moved:
            return
        parameters, gradients, means, squares, steps = (list(column) for column in zip(*moved, strict=True))
        with torch.no_grad():
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                lr=learning_rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=self._weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Moments and step counts by `<parameter's position>.<name>`."""
        return {
            f"{position}.{name}": tensor
            for position, state in enumerate(self._state)
            for name, tensor in zip(("mean", "square", "step"), state, strict=True)
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` gave for the same parameters.

        Raises:
            ValueError: it belongs to other parameters.
        """
        own = self.state_dict()
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in state.items()}:
            raise ValueError("the optimizer's state belongs to another network: begin a new run")
        for name, tensor in own.items():
            tensor.copy_(state[name])
