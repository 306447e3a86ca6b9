"""The target of a task, by its name in `[training] task`."""

from collections.abc import Sequence

from include.targets.base import Target, Task
from include.targets.classification import Classification
from include.targets.multi_label import MultiLabel
from include.targets.regression import Regression, RegressionLoss, Scale

SEPARATOR = ","


def target_of(
    task: Task,
    labels: Sequence[str],
    *,
    separator: str = SEPARATOR,
    loss: RegressionLoss = "mse",
    scale: Scale | None = None,
) -> Target:
    """The target of the task over these labels.

    Args:
        separator: between the names of a multi-label text that is no JSON list.
        loss, scale: of a regression.
    """
    if task == "multi-label":
        return MultiLabel(labels, separator)
    if task == "regression":
        return Regression(labels, loss, scale)
    return Classification(labels)
