"""The operators: topics, batches, ranges, training, promotion, predictions, replays and exports."""

from __future__ import annotations

from millrace.operators.ensure_topics import EnsureTopicsOperator
from millrace.operators.export_predictions import ExportPredictionsOperator
from millrace.operators.freeze_ranges import FreezeRangesOperator
from millrace.operators.produce_batch import ProduceBatchOperator
from millrace.operators.promote_model import PromoteModelOperator
from millrace.operators.publish_predictions import PublishPredictionsOperator
from millrace.operators.replay_dead_letters import ReplayDeadLettersOperator
from millrace.operators.train_model import TrainModelOperator

__all__ = [
    "EnsureTopicsOperator",
    "ExportPredictionsOperator",
    "FreezeRangesOperator",
    "ProduceBatchOperator",
    "PromoteModelOperator",
    "PublishPredictionsOperator",
    "ReplayDeadLettersOperator",
    "TrainModelOperator",
]
