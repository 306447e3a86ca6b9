"""A challenger beside the champion: nothing of it is published, each request counts once, and it stops nothing."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from include.errors import Stopped
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.prediction import publish as publishing
from include.registry.agreement import KEPT, STEP, Agreement, pair_scope, read_agreement
from include.registry.tracking import RegistryUnavailable
from tests.support.attempts import kill_at, predict_job
from tests.support.publishing import ask, bad_request, dead_letters, predictions, publish, request
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.tiny_pipelines import letter, numbers, tiny_challenger, tiny_predictor

BESIDE = {"promotion": {"shadow": 1.0}, "prediction": {"chunk_samples": 10}}


def always(challenger):
    return lambda champion, held: challenger  # noqa: ARG005


def expected(count):
    """How many of the first requests both answer with the same letter, computed without torch."""
    return sum(agree(number) for number in range(count))


def agree(number):
    return letter(numbers(number)) == letter(numbers(number) + np.array([0.5, 0, 0, 0]))


def test_the_champion_alone_is_published_and_the_ledger_has_how_they_agree(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(**{**BESIDE, "topics": {"partitions": 2}})
    ask(kafka, pipeline, *map(request, range(30)), bad_request(30))
    ranges = ask(kafka, pipeline, *map(request, range(31, 51)), partition=1)
    metrics = RecordedMetrics()

    published = publish(kafka, pipeline, ranges, predictor, challenger=always(tiny_challenger()), metrics=metrics)

    answered = predictions(kafka, pipeline)
    assert {each["version"] for each in answered} == {7}
    assert len(answered) == 50
    assert len(dead_letters(kafka, pipeline)) == 1
    found = read_agreement(kafka, pipeline.name, 7, 8)
    same = expected(51) - agree(30)
    assert (found.requests, found.agreed, found.refused) == (50, same, 0)
    assert 0 < found.disagreed <= KEPT
    assert (published.shadowed.requests, published.shadowed.agreed) == (50, same)
    apart = found.disagreements[0]
    by_request = {"/".join(str(each[name]) for name in ("topic", "partition", "offset")): each for each in answered}
    answer = by_request[apart.request]
    assert apart.champion == f"{answer['label']} ({answer['score']:.4f})"
    assert apart.challenger.startswith("a (")
    assert metrics.counted[f"{pipeline.name}.shadow.requests"] == 50
    assert metrics.counted[f"{pipeline.name}.shadow.disagreements"] == 50 - same


def test_the_same_weights_agree_with_equal_scores(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(**BESIDE)
    ranges = ask(kafka, pipeline, *map(request, range(25)))

    publish(kafka, pipeline, ranges, predictor, challenger=always(tiny_predictor(version=9)))

    assert read_agreement(kafka, pipeline.name, 7, 9) == Agreement(requests=25, agreed=25)


@pytest.mark.parametrize("point", ["before begin", "before commit", "after commit"])
def test_each_request_counts_once_through_a_kill(kafka, new_pipeline, predictor, point):
    pipeline = new_pipeline(**BESIDE)
    ranges = ask(kafka, pipeline, *map(request, range(40)))
    kill_at(point, 2, predict_job(kafka, pipeline, ranges))

    publish(kafka, pipeline, ranges, predictor, challenger=always(tiny_challenger()))

    found = read_agreement(kafka, pipeline.name, 7, 8)
    assert (found.requests, found.agreed) == (40, expected(40))
    assert len({apart.request for apart in found.disagreements}) == len(found.disagreements)


def test_a_chunk_that_is_aborted_and_repeated_counts_once(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(**BESIDE)
    ranges = ask(kafka, pipeline, *map(request, range(30)))
    polls = iter(range(100))
    beside = always(tiny_challenger())
    # Polled before each chunk and before each commit: the second commit is an abort.
    with pytest.raises(Stopped, match="aborted"):
        publish(kafka, pipeline, ranges, predictor, challenger=beside, stopped=lambda: next(polls) == 3)
    assert read_agreement(kafka, pipeline.name, 7, 8).requests == 10

    publish(kafka, pipeline, ranges, predictor, challenger=beside)

    found = read_agreement(kafka, pipeline.name, 7, 8)
    assert (found.requests, found.agreed) == (30, expected(30))


def test_a_share_of_the_requests_is_answered_the_same_ones_in_every_attempt(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(promotion={"shadow": 0.25}, prediction={"chunk_samples": 7})
    seen = []

    class Watched(nn.Module):
        def forward(self, inputs):
            seen.extend(inputs[:, 0].tolist())
            return inputs[:, :3]

    ranges = ask(kafka, pipeline, *map(request, range(40)))
    publish(kafka, pipeline, ranges, predictor, challenger=always(replace(tiny_challenger(), network=Watched())))

    assert read_agreement(kafka, pipeline.name, 7, 8) == Agreement(requests=10, agreed=10)
    assert seen == [pytest.approx(float(numbers(number)[0])) for number in range(3, 40, 4)]


class Failing(nn.Module):
    """Fails as a whole from a call on."""

    def __init__(self, error, good=0):
        super().__init__()
        self.error = error
        self.good = good

    def forward(self, inputs):
        self.good -= 1
        if self.good < 0:
            raise self.error
        return inputs[:, :3]


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error"), torch.OutOfMemoryError("no memory"), MemoryError(), ValueError("\n")]
)
def test_a_challenger_that_fails_holds_nothing_back_and_is_not_asked_again(
    kafka, new_pipeline, predictor, caplog, error
):
    pipeline = new_pipeline(**BESIDE)
    metrics, network = RecordedMetrics(), Failing(error, good=1)
    beside = always(replace(tiny_challenger(), network=network))
    ranges = ask(kafka, pipeline, *map(request, range(40)))

    with caplog.at_level(logging.WARNING):
        published = publish(kafka, pipeline, ranges, predictor, challenger=beside, metrics=metrics)

    assert (published.predictions, len(predictions(kafka, pipeline))) == (40, 40)
    assert read_agreement(kafka, pipeline.name, 7, 8).requests == 10
    assert metrics.counted[f"{pipeline.name}.shadow.failures"] == 1
    assert caplog.text.count("predicts no more beside the champion") == 1


def test_a_challenger_that_cannot_be_loaded_holds_nothing_back(kafka, new_pipeline, predictor, caplog):
    pipeline = new_pipeline(**BESIDE)

    def away(champion, held):
        raise RegistryUnavailable("MLflow does not answer: start it.")

    published = publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(30))), predictor, challenger=away)

    assert published.predictions == 30
    assert caplog.text.count("MLflow does not answer") == 1


def test_a_damaged_entry_of_the_ledger_holds_nothing_back(kafka, new_pipeline, predictor, caplog):
    pipeline = new_pipeline(**BESIDE)
    scope = f"{pair_scope(7, 8)}/{pipeline.requests_topic}/0"
    with TransactionalWriter(kafka, f"{pipeline.name}.forger") as writer, writer.transaction():
        writer.write_ledger(LedgerKey(kafka.environment, pipeline.name, STEP, scope), {"requests": -1})

    ranges = ask(kafka, pipeline, *map(request, range(30)))
    published = publish(kafka, pipeline, ranges, predictor, challenger=always(tiny_challenger()))

    assert (published.predictions, published.shadowed) == (30, Agreement())
    assert "requests' is wrong" in caplog.text


def test_samples_that_it_fails_at_are_differences_with_their_reason(kafka, new_pipeline, predictor):
    class Picky(nn.Module):
        def forward(self, inputs):
            outputs = inputs[:, :3].clone()
            outputs[inputs[:, 0] > 1] = float("nan")
            return outputs

    pipeline = new_pipeline(**BESIDE)
    ranges = ask(kafka, pipeline, *map(request, range(40)))
    large = [number for number in range(40) if numbers(number)[0] > 1]

    publish(kafka, pipeline, ranges, predictor, challenger=always(replace(tiny_challenger(), network=Picky())))

    found = read_agreement(kafka, pipeline.name, 7, 8)
    assert (found.refused, found.agreed) == (len(large), 40 - len(large))
    assert [apart.request for apart in found.disagreements] == [
        f"{pipeline.requests_topic}/0/{number}" for number in large
    ]
    assert all(apart.challenger.startswith("not-finite") for apart in found.disagreements)


def test_after_a_promotion_the_pair_is_another_one(kafka, new_pipeline, predictor, monkeypatch):
    monkeypatch.setattr(publishing, "CHAMPION_VALID_S", 0)
    pipeline = new_pipeline(**BESIDE)
    promoted, asked = tiny_challenger(), []

    def newest(last):
        asked.append(last.identity.version)
        return promoted if len(asked) > 2 else last

    def beside(champion, held):
        return None if champion.identity.version == 8 else promoted

    published = publish(
        kafka,
        pipeline,
        ask(kafka, pipeline, *map(request, range(40))),
        predictor,
        newest=newest,
        challenger=beside,
    )

    assert published.versions == {7: 20, 8: 20}
    assert read_agreement(kafka, pipeline.name, 7, 8).requests == 20
