"""The loop on a real topic, in the test's own process: same bits however often it is stopped, and what it refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from torch import nn

from include.augmentations.image import Erase, Light, Noise, Shift, Turn
from include.codecs.raw import RawCodec
from include.errors import PermanentError
from include.feed.cached import CachedBatches
from include.feed.feed import Feed
from include.feed.split import group_crcs
from include.models.base import ModelDefinition
from include.network.mistakes import KEPT_EACH
from include.training.checks import NoSamples, TooManyRefused
from include.training.job import TrainingJob
from include.training.loop import CHECKPOINTS, TrainedNetwork, train
from include.training.loss import LossNotFinite
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.digit_trainings import Events, digits_pipeline, job_over
from tests.support.producers import Record, produce
from tests.support.resumed_trainings import bits, trained_in_pieces

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection


@pytest.fixture(scope="module")
def job(kafka: KafkaConnection, images: str) -> TrainingJob:
    return job_over(kafka, images)


@pytest.fixture(scope="module")
def whole(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """The run that nobody interrupts."""
    return train(job, kafka, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("batches", [1, 7, 11])
def test_a_run_in_pieces_ends_with_the_bits_of_a_whole_one(
    kafka: KafkaConnection, job: TrainingJob, whole: TrainedNetwork, tmp_path: Path, batches: int
) -> None:
    pieces, attempts = trained_in_pieces(kafka, job.model_copy(update={"epochs": 2}), tmp_path, batches)
    reference = train(job.model_copy(update={"epochs": 2}), kafka, tmp_path / "whole")
    assert attempts > 1
    assert bits(pieces) == bits(reference)
    assert pieces.train == reference.train
    assert pieces.reference == reference.reference
    assert pieces.mistakes == reference.mistakes
    measured = ("epoch", "train_loss", "held_out_loss", "held_out_accuracy", "learning_rate", "samples")
    assert [[entry[name] for name in measured] for entry in pieces.history] == [
        [entry[name] for name in measured] for entry in reference.history
    ]


AUGMENT = (Shift(pixels=1), Turn(degrees=10), Light(), Noise(std=0.02), Erase(share=0.2))


def test_a_run_in_pieces_is_augmented_as_a_whole_one(kafka: KafkaConnection, job: TrainingJob, tmp_path: Path) -> None:
    """What is drawn for a batch goes by the generator's state in the checkpoint before it."""
    plain = job.model_copy(update={"epochs": 2})
    augmented = plain.model_copy(update={"augment": AUGMENT})
    reference = train(augmented, kafka, tmp_path / "whole")
    pieces, attempts = trained_in_pieces(kafka, augmented, tmp_path / "pieces", 7)
    assert attempts > 1
    assert bits(pieces) == bits(reference) != bits(train(plain, kafka, tmp_path / "plain"))
    assert pieces.history[-1]["held_out_loss"] == reference.history[-1]["held_out_loss"]


def test_held_out_samples_are_not_augmented(kafka: KafkaConnection, job: TrainingJob, tmp_path: Path) -> None:
    """So much noise hides every image, and with almost no learning rate nothing is learnt from it."""
    still = {"epochs": 1, "learning_rate": 1e-12}
    noisy = train(job.model_copy(update={**still, "augment": (Noise(std=10),)}), kafka, tmp_path / "noisy")
    plain = train(job.model_copy(update=still), kafka, tmp_path / "plain")
    assert noisy.evaluation.loss == pytest.approx(plain.evaluation.loss, rel=1e-4)
    assert noisy.history[0]["train_loss"] > plain.history[0]["train_loss"] + 0.1


def test_a_setting_that_is_not_used_leaves_the_digest(kafka: KafkaConnection, job: TrainingJob) -> None:
    """So that runs from before it was there are resumed, and models compared."""
    values = job.model_dump(mode="json")
    assert values["augment"] is values["format"]["resize"] is None
    del values["augment"], values["format"]["resize"]
    assert TrainingJob.model_validate(values).digest == job.digest
    assert TrainingJob.model_validate({**values, "augment": AUGMENT}).digest != job.digest


def test_another_seed_gives_other_bits(kafka: KafkaConnection, job: TrainingJob, tmp_path: Path) -> None:
    runs = [train(job.model_copy(update={"seed": seed, "epochs": 1}), kafka, tmp_path / str(seed)) for seed in (1, 2)]
    assert bits(runs[0]) != bits(runs[1])


def test_it_learns(whole: TrainedNetwork) -> None:
    losses = [entry["held_out_loss"] for entry in whole.history]
    assert losses == sorted(losses, reverse=True)
    assert whole.evaluation.score > 0.5


def test_mistakes_lead_to_the_samples_behind_the_confusion(
    kafka: KafkaConnection, job: TrainingJob, tmp_path: Path
) -> None:
    trained = train(job.model_copy(update={"epochs": 1}), kafka, tmp_path)
    assert trained.evaluation.confusion is not None
    confusion = trained.evaluation.confusion.tolist()
    (topic,) = {item.topic for item in job.manifest.ranges}
    records = {(record.partition(), record.offset()): record for record in committed_records(kafka, topic)}

    labels = job.manifest.labels
    found = Counter((labels.index(mistake.true), labels.index(mistake.predicted)) for mistake in trained.mistakes)
    assert found == {
        (true, predicted): min(count, KEPT_EACH)
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    }
    for mistake in trained.mistakes:
        record = records[mistake.partition, mistake.offset]
        assert dict(record.headers() or [])["label"] == mistake.true.encode()
        assert job.manifest.split.is_hash_held_out(group_crcs([record.key() or b""])).all()


def test_every_sample_is_counted_on_one_side(whole: TrainedNetwork) -> None:
    train_samples, held_out = sum(whole.train.samples.values()), sum(whole.held_out.samples.values())
    assert train_samples + held_out == 400
    assert whole.evaluation.samples == held_out
    assert [entry["samples"] for entry in whole.history] == [train_samples] * 4


def test_checkpoints_come_at_the_intervals_that_were_asked_for(
    kafka: KafkaConnection, job: TrainingJob, tmp_path: Path
) -> None:
    events = Events()
    train(job.model_copy(update={"epochs": 1, "checkpoint_batches": 3}), kafka, tmp_path, on_progress=events)
    assert [event["batch"] for event in events.named("checkpoint")] == [3, 6, 9]
    assert len(list((tmp_path / CHECKPOINTS).iterdir())) == 2


def garbage(kafka: KafkaConnection, topic: str, count: int) -> None:
    records = [Record(key=b"bad-%d" % number, value=b"no image") for number in range(count)]
    produce(kafka, topic, records)


def test_too_many_refused_records_end_it_with_the_counts(
    kafka: KafkaConnection, new_images: Callable[[int], str], tmp_path: Path
) -> None:
    topic = new_images(100)
    garbage(kafka, topic, 50)
    with pytest.raises(TooManyRefused) as refused:
        train(job_over(kafka, topic, max_rejected_share=0.1), kafka, tmp_path)
    assert_readable(refused.value, "no-schema", "0.1", "max_rejected_share", topic)


def test_a_share_of_refused_records_below_the_limit_is_counted_in_the_card(
    kafka: KafkaConnection, new_images: Callable[[int], str], tmp_path: Path
) -> None:
    topic = new_images(100)
    garbage(kafka, topic, 20)
    trained = train(job_over(kafka, topic, epochs=1, max_rejected_share=0.9), kafka, tmp_path)
    assert sum(trained.train.samples.values()) + sum(trained.held_out.samples.values()) == 100
    assert trained.train.refused["no-schema"] + trained.held_out.refused["no-schema"] == 20


def test_refused_records_are_counted_whole_though_the_epoch_came_in_pieces(
    kafka: KafkaConnection, new_images: Callable[[int], str], tmp_path: Path
) -> None:
    topic = new_images(100)
    garbage(kafka, topic, 20)
    job = job_over(kafka, topic, epochs=1, max_rejected_share=0.9)
    reference = train(job, kafka, tmp_path / "whole")
    pieces, attempts = trained_in_pieces(kafka, job, tmp_path / "pieces", 2)
    assert attempts > 1
    assert (pieces.train.samples, pieces.train.refused) == (reference.train.samples, reference.train.refused)


def test_a_topic_without_samples_is_refused(
    kafka: KafkaConnection, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = new_topic()
    with pytest.raises(NoSamples) as refused:
        train(job_over(kafka, topic), kafka, tmp_path)
    assert_readable(refused.value, "training", "0 offsets")


def test_a_held_out_side_without_samples_is_refused(
    kafka: KafkaConnection, new_images: Callable[[int], str], tmp_path: Path
) -> None:
    topic = new_images(40)
    pipeline = digits_pipeline()
    training = pipeline.training.model_copy(update={"held_out": 1e-9})
    job = job_over(kafka, topic, pipeline.model_copy(update={"training": training}))
    with pytest.raises(NoSamples) as refused:
        train(job, kafka, tmp_path)
    assert_readable(refused.value, "held-out", "40 offsets")


class Exploding(ModelDefinition):
    """A network whose weights are multiplied until they are no numbers."""

    kind: Literal["exploding"] = "exploding"

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:  # noqa: ARG002
        class Explode(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(classes))
                self.calls = 0

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                self.calls += self.training
                poison = float("nan") if self.calls == 5 else 1.0
                return self.weight * poison + inputs.sum() * 0 + torch.zeros(len(inputs), classes)

        return Explode()


def test_a_loss_that_is_no_number_ends_it_with_epoch_and_batch(
    kafka: KafkaConnection, images: str, tmp_path: Path
) -> None:
    with pytest.raises(LossNotFinite) as refused:
        train(job_over(kafka, images, model=Exploding(), checkpoint_batches=1), kafka, tmp_path)
    assert_readable(refused.value, "nan", "batch 5", "epoch 1", "learning rate")


def test_a_network_that_does_not_take_the_format_is_refused(
    kafka: KafkaConnection, images: str, tmp_path: Path
) -> None:
    with pytest.raises(PermanentError) as refused:
        train(job_over(kafka, images, format=RawCodec(shape=(64,))), kafka, tmp_path)
    assert_readable(refused.value, "(64,)", "[model]")


@pytest.mark.parametrize(("kept_bytes", "reads"), [(0, 3), (100_000_000, 1)])
def test_held_out_samples_are_read_once_where_they_fit(
    kafka: KafkaConnection, job: TrainingJob, kept_bytes: int, reads: int
) -> None:
    reads_begun = []

    def feed() -> Feed:
        reads_begun.append(True)
        return Feed(kafka, job.manifest, job.format, batch_size=16, side="held_out", shuffle=False)

    held_out = CachedBatches(feed, kept_bytes=kept_bytes)
    rounds = [torch.cat([labels for _, labels in held_out]) for _ in range(3)]
    assert len(reads_begun) == reads
    assert torch.equal(rounds[0], rounds[1])
    assert torch.equal(rounds[0], rounds[2])
    assert held_out.report.samples.total() == len(rounds[0])
