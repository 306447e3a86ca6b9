"""Shadow: a challenger predicts beside the champion; nothing of it is published, and how they agree is recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.errors import MillraceError, PermanentError, one_line
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.progress import progress_scope
from include.kafka.records import Address
from include.metrics import Counters
from include.prediction.answer import predict
from include.prediction.predictor import load_predictor
from include.refusal import Refusal
from include.registry.agreement import STEP, Agreement, Disagreement, pair_scope
from include.registry.tracking import open_registry
from include.registry.versions import challenger

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.exactly_once.attempt import Attempt
    from include.exactly_once.transaction import TransactionalWriter
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange
    from include.prediction.answer import RequestOutcome, Samples
    from include.prediction.predictor import Predictor
    from include.prediction.requests import Requests

log = logging.getLogger(__name__)

# How long a challenger predicts before the registry is asked whether it still is one.
CHALLENGER_VALID_S = 10.0
SAID_CHARACTERS = 200
MAX_DIFFERENCE = 1e6

# Given the champion and the challenger of the chunk before, the one of the next chunk; None for none.
FindChallenger = Callable[["Predictor", "Predictor | None"], "Predictor | None"]


class OtherTask(PermanentError):
    """The challenger answers another question than the champion."""


@dataclass(frozen=True)
class Compared:
    """How a pair of versions agrees in one chunk."""

    champion: int
    challenger: int
    found: Agreement


def newest_challenger(
    connection: KafkaConnection, pipeline: Pipeline, beside: Predictor, held: Predictor | None
) -> Predictor | None:
    """The version that the alias `challenger` names; None where it names none, or the champion.

    Args:
        held: the one of before, which is not loaded again.

    Raises:
        OtherTask: its task is not the champion's.
        WrongModel, WrongFormat, RegistryUnavailable: see `load_predictor`.
    """
    found = challenger(open_registry(), pipeline.name)
    if found is None or found.number == beside.identity.version:
        return None
    if held is not None and (found.number, found.digest) == (held.identity.version, held.identity.digest):
        return held
    loaded = load_predictor(connection, pipeline, str(found.number))
    if loaded.target.task != beside.target.task:
        raise OtherTask(
            f"Version {found.number} of {pipeline.name} is a {loaded.target.task} and champion "
            f"{beside.identity.version} a {beside.target.task}: remove the alias challenger in MLflow."
        )
    log.info("Version %d predicts beside champion %d; it publishes nothing.", found.number, beside.identity.version)
    return loaded


class Shadow:
    """The challenger of one attempt.

    Whatever goes wrong with it is logged and counted, and ends it for the attempt: the champion goes on without it.
    """

    def __init__(
        self, attempt: Attempt, pipeline: Pipeline, ranges: Sequence[OffsetRange], find: FindChallenger
    ) -> None:
        self._attempt = attempt
        self._pipeline = pipeline
        self._ranges = ranges
        self._find = find
        self._ended = False
        self._challenger: Predictor | None = None
        self._champion = 0
        self._renew_at = 0.0
        self._totals: dict[LedgerKey, Agreement] = {}

    def compare(
        self, champion: Predictor, requests: Requests, outcomes: Sequence[RequestOutcome], samples: Samples
    ) -> Compared | None:
        """Let the challenger answer what the champion has answered; None where it has answered nothing.

        Args:
            samples: those of the requests that were decoded.
        """
        if self._ended:
            return None
        try:
            return self._compare(champion, requests, outcomes, samples)
        except Exception as error:  # noqa: BLE001 - a network may raise anything
            self._end(error)
            return None

    def _compare(
        self, champion: Predictor, requests: Requests, outcomes: Sequence[RequestOutcome], samples: Samples
    ) -> Compared | None:
        version, now = champion.identity.version, time.monotonic()
        if version != self._champion or now >= self._renew_at:
            self._challenger = self._find(champion, self._challenger)
            self._champion, self._renew_at = version, now + CHALLENGER_VALID_S
        chosen = [
            place
            for place, position in enumerate(samples.positions)
            if isinstance(outcomes[position], dict) and self._takes(requests.offsets[position])
        ]
        if self._challenger is None or not chosen:
            return None
        codec, values = self._pipeline.format, samples.values
        if self._challenger.statistics == champion.statistics:
            codec, values = codec.with_statistics(champion.statistics), values[chosen]
        else:
            # Of a row, what is decoded depends on the training samples.
            codec = codec.with_statistics(self._challenger.statistics)
            values = codec.decode([samples.contents[samples.positions[place]] for place in chosen]).samples
        answers = predict(self._challenger.network, codec, self._challenger.target, values)
        found = Agreement(requests=len(chosen))
        for place, other in zip(chosen, answers, strict=True):
            position = samples.positions[place]
            address = Address(requests.topic, requests.partition, requests.offsets[position])
            found += _difference(champion, address, outcomes[position], other)
        return Compared(version, self._challenger.identity.version, found)

    def _takes(self, offset: int) -> bool:
        """Whether a request is one of the share: by its offset, so that every attempt takes the same."""
        share = self._pipeline.promotion.shadow
        return int((offset + 1) * share) > int(offset * share)

    def entries(
        self, writer: TransactionalWriter, item: OffsetRange, compared: Compared
    ) -> dict[LedgerKey, dict[str, Any]]:
        """The ledger's entry with the chunk added; it has to be written in the transaction of the chunk's answers.

        Entries are read once for each pair of versions, since this attempt has fenced the owners of all its partitions.
        There is none where they can't be read.
        """
        key = self._key(item, compared)
        if key not in self._totals:
            if self._ended:
                return {}
            try:
                keys = [self._key(other, compared) for other in self._ranges]
                before = writer.read_ledger(keys)
            except MillraceError as error:
                self._end(error)
                return {}
            self._totals |= {key: Agreement.read(before.get(key)) for key in keys}
        self._totals[key] += compared.found
        return {key: self._totals[key].entry(self._attempt.run)}

    def _key(self, item: OffsetRange, compared: Compared) -> LedgerKey:
        scope = f"{pair_scope(compared.champion, compared.challenger)}/{progress_scope(item)}"
        return LedgerKey(self._attempt.connection.environment, self._pipeline.name, STEP, scope)

    def _end(self, error: Exception) -> None:
        self._ended = True
        text = str(error) if isinstance(error, MillraceError) else one_line(error)
        log.warning("The challenger predicts no more beside the champion in this attempt, which goes on: %s", text)
        self._attempt.metrics.count(Counters.SHADOW_FAILURES, 1, pipeline=self._pipeline.name)


def _difference(champion: Predictor, address: Address, answer: Any, other: Any) -> Agreement:
    """What one request adds to the counts."""
    target = champion.target
    if isinstance(other, Refusal):
        same, difference, said = False, 0.0, str(other)
    else:
        same, difference = target.compared(answer, other)
        # Far beyond any score; the ledger takes no infinite number.
        difference = max(-MAX_DIFFERENCE, min(difference, MAX_DIFFERENCE))
        said = "" if same else target.said(other)
    if same:
        return Agreement(agreed=1, difference=difference)
    shown = (target.said(answer), said)
    apart = Disagreement(str(address), *(text[:SAID_CHARACTERS] for text in shown))
    return Agreement(refused=int(isinstance(other, Refusal)), difference=difference, disagreements=(apart,))
