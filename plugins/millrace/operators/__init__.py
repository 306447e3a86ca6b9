"""The operators: each is one step of a pipeline's DAGs, and is imported when it is first asked for.

A task's process needs one of them, and some of the others bring much of Airflow with them.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.operators.approve_model import ApproveModelOperator
    from millrace.operators.compare_models import CompareModelsOperator
    from millrace.operators.ensure_topics import EnsureTopicsOperator
    from millrace.operators.export_predictions import ExportPredictionsOperator
    from millrace.operators.freeze_ranges import FreezeRangesOperator
    from millrace.operators.produce_batch import ProduceBatchOperator
    from millrace.operators.promote_model import PromoteModelOperator
    from millrace.operators.publish_predictions import PublishPredictionsOperator
    from millrace.operators.replay_dead_letters import ReplayDeadLettersOperator
    from millrace.operators.repredict_requests import RepredictRequestsOperator
    from millrace.operators.roll_back_model import RollBackModelOperator
    from millrace.operators.train_model import TrainModelOperator
    from millrace.operators.watch_model import WatchModelOperator

__all__ = [
    "ApproveModelOperator",
    "CompareModelsOperator",
    "EnsureTopicsOperator",
    "ExportPredictionsOperator",
    "FreezeRangesOperator",
    "ProduceBatchOperator",
    "PromoteModelOperator",
    "PublishPredictionsOperator",
    "ReplayDeadLettersOperator",
    "RepredictRequestsOperator",
    "RollBackModelOperator",
    "TrainModelOperator",
    "WatchModelOperator",
]


def __getattr__(name: str) -> Any:
    """The operator `FreezeRangesOperator` from the file `freeze_ranges`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = re.sub("(?<!^)([A-Z])", r"_\1", name.removesuffix("Operator")).lower()
    return getattr(import_module(f"{__name__}.{file}"), name)
