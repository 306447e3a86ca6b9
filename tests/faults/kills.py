"""SIGKILL at named points and at random instants of ingest, prediction and training; see `run`."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import get_args

from include.kafka.connection import KafkaConnection
from include.local.broker import running_cluster
from tests.faults.attempts import succeed
from tests.faults.points import Point, TrainingPoint, TransactionPoint
from tests.faults.rows import Row, Setting, middle
from tests.faults.witness import Witness
from tests.faults.workloads import Ingest, Prediction, Training, Work
from tests.support.attempts import Attempt, Job, Target, Workers
from tests.support.processes import wait_for

SEEDS = 3
TASK: tuple[Target, ...] = ("task", "group")
TARGETS: tuple[Target, ...] = (*TASK, "trainer")
# Where an attempt hangs until another attempt has replaced it.
HALTS: tuple[Point, ...] = ("after begin", "after produce", "before commit")
# How it fails then; the second error if it was still planning, whose id all batches of a pipeline share.
FENCED = ("Fenced", "ConcurrentPlan")
# How often a retry is killed again.
AGAIN = 0.3
# So many late kills in a row are badly aimed and prove nothing.
MISSES = 10
# Aim for less than what an undisturbed attempt took, because the next one may be faster.
FASTER = 0.9


@dataclass(frozen=True)
class Kill:
    """A SIGKILL of an attempt, at a point or after a time.

    Attributes:
        number: see `tests.faults.points.halt_at`; a retry has less work and is killed at the first.
        after: as a share of the time that a piece of work takes undisturbed.
    """

    target: Target
    point: Point | None = None
    number: int = 1
    after: float = 0.0


@dataclass
class Tally:
    """The results of one kind of kill over all seeds: seconds to recover for each, and the counts."""

    recovered: list[float] = field(default_factory=list)
    lost: int = 0
    duplicated: int = 0

    def judge(self, work: Work, witness: Witness, pieces: int) -> None:
        lost, duplicated = work.verdict(witness, pieces)
        self.lost += lost
        self.duplicated += duplicated

    def row(self, fault: str, *, control: bool = False) -> Row:
        return Row(fault, len(self.recovered), self.lost, self.duplicated, middle(self.recovered), control)


def run(setting: Setting) -> list[Row]:
    """Kill each step, and retry it until it succeeds; a retry may be killed again.

    Only kills of a process that still worked are counted. A retry of prediction may divide the partitions differently.
    Three targets are killed in training: the task's process, its process group, and its trainer process.
    """
    tallies: dict[str, Tally] = defaultdict(Tally)
    with ground(setting) as (kafka, workers):
        for seed in range(setting.seed, setting.seed + (1 if setting.short else SEEDS)):
            its = replace(setting, seed=seed)
            for what, work, kills in _plans(its, kafka):
                fault = f"{work.name}: {what}"
                its.say(f"{fault}, {len(kills)} times, seed {seed}")
                endure(kafka, workers, work, kills, its.random(fault), tallies[fault])
            for work in (_ingest(kafka, f"woken_{seed}"), prediction(kafka, f"woken_{seed}", pieces=len(HALTS))):
                fault = f"{work.name}: woken after its retry has finished"
                its.say(f"{fault}, {len(HALTS)} times, seed {seed}")
                wake(kafka, workers, work, HALTS, its.random(fault), tallies[fault])
    return [tally.row(fault) for fault, tally in tallies.items()]


@contextmanager
def ground(setting: Setting) -> Iterator[tuple[KafkaConnection, Workers]]:
    """One broker, and workers for it."""
    with running_cluster(setting.folder / "broker") as cluster, Workers(setting.folder / "workers.log") as workers:
        yield KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}), workers


def _ingest(kafka: KafkaConnection, name: str) -> Ingest:
    return Ingest(kafka, f"ingest_{name}", records=60, chunk=20)


def prediction(kafka: KafkaConnection, name: str, *, pieces: int, control: bool = False) -> Prediction:
    """Slices of three transactions in each of two partitions."""
    return Prediction(kafka, f"predict_{name}", pieces=pieces, requests=30, chunk=10, control=control)


def enough_for(kills: list[Kill]) -> int:
    """Pieces of work: two to measure, one for each kill, and some for kills that come too late."""
    return 2 + 3 * len(kills)


def _plans(setting: Setting, kafka: KafkaConnection) -> Iterator[tuple[str, Work, list[Kill]]]:
    """The workloads and kills of one seed, with the name of their row."""
    short, seed, folder = setting.short, setting.seed, setting.folder / str(setting.seed)
    draws = setting.random("plans")

    points = "SIGKILL at named points"
    kills = transaction_points(draws, 3 if short else 9)
    yield points, _ingest(kafka, f"points_{seed}"), kills
    kills = transaction_points(draws, 3 if short else 9)
    yield points, prediction(kafka, f"points_{seed}", pieces=enough_for(kills)), kills
    kills = rename_points(draws, 3 if short else 12)
    yield points, Training(kafka, f"train_points_{seed}", folder / "points"), kills

    instants = "SIGKILL at random instants"
    kills = random_instants(draws, 2 if short else 10, TASK)
    yield instants, _ingest(kafka, f"instants_{seed}"), kills
    kills = random_instants(draws, 2 if short else 10, TASK)
    yield instants, prediction(kafka, f"instants_{seed}", pieces=enough_for(kills)), kills
    kills = random_instants(draws, 3 if short else 9, TARGETS)
    yield instants, Training(kafka, f"train_instants_{seed}", folder / "instants"), kills
    if not short:
        fresh = Training(kafka, f"train_fresh_{seed}", folder / "fresh", fresh=True)
        yield f"{instants}, trainer started anew", fresh, random_instants(draws, 3, TARGETS)


def random_instants(draws: Random, number: int, targets: tuple[Target, ...]) -> list[Kill]:
    """Kills spread over the duration of a step: one at a random instant in each of `number` equal parts."""
    afters = [(part + draws.random()) / number for part in range(number)]
    kills = [Kill(targets[part % len(targets)], after=after) for part, after in enumerate(afters)]
    draws.shuffle(kills)
    return kills


def transaction_points(draws: Random, number: int) -> list[Kill]:
    """Kills at named points of one of the first three transactions of an attempt."""
    return [
        Kill(draws.choice(TASK), point, draws.randint(1, 3))
        for point in draws.sample(get_args(TransactionPoint), number)
    ]


def rename_points(draws: Random, number: int) -> list[Kill]:
    """Kills around the renames that complete a checkpoint or a result, of all three targets."""
    everything = [(point, target) for target in TARGETS for point in get_args(TrainingPoint)]
    chosen = draws.sample(everything, number)
    return [Kill(target, point, draws.randint(1, 12) if "checkpoint" in point else 1) for point, target in chosen]


def endure(
    kafka: KafkaConnection, workers: Workers, work: Work, kills: list[Kill], draws: Random, tally: Tally
) -> None:
    """Inflict the kills on one piece of work after the other while a witness reads, then count."""
    with Witness(kafka, work.witnessed) as witness:
        undisturbed_s = min(_seconds(workers, work.jobs(piece, draws)) for piece in range(2))
        pieces, waiting, misses = 2, deque(kills), 0
        while waiting:
            struck: list[Attempt] = []
            while waiting and (not struck or draws.random() < AGAIN):
                began = time.monotonic()
                victim = strike(workers, work.jobs(pieces, draws), waiting[0], undisturbed_s, again=bool(struck))
                misses = misses + 1 if victim is None else 0
                assert misses < MISSES, f"{misses} kills in a row came after the end: {waiting[0]}"
                if victim is None:
                    if not struck:
                        # The whole piece ran undisturbed, in less time than was measured before.
                        undisturbed_s = FASTER * min(undisturbed_s, time.monotonic() - began)
                    break
                struck.append(victim)
                waiting.popleft()
            succeed(workers, work.jobs(pieces, draws), delay_s=0)
            ended = time.monotonic()
            for victim in struck:
                wait_for(victim.left_nothing, f"the children of the killed process {victim.pid} to end")
                tally.recovered.append(ended - victim.killed_at)
            pieces += 1
        tally.judge(work, witness, pieces)


def _seconds(workers: Workers, jobs: list[Job]) -> float:
    """How long a step takes without faults."""
    began = time.monotonic()
    succeed(workers, jobs, delay_s=0)
    return time.monotonic() - began


def strike(workers: Workers, jobs: list[Job], kill: Kill, undisturbed_s: float, *, again: bool) -> Attempt | None:
    """Start an attempt and kill the first of its jobs; the others end before this returns.

    Args:
        again: the attempt is a retry.

    Returns:
        The killed job; None if the kill came after the end of its work.
    """
    halt = None if kill.point is None else (kill.point, 1 if again else kill.number)
    victim = workers.start(jobs[0], halt=halt)
    others = [workers.start(job) for job in jobs[1:]]
    if halt is None:
        victim.goes_on_for(kill.after * undisturbed_s)
    else:
        victim.reaches("halted")
    victim.kill(kill.target)
    for attempt in (victim, *others):
        attempt.end()
    assert all(other.succeeded for other in others), (
        f"a job that was not killed failed: {[other.failure for other in others]}"
    )
    # The task of a killed trainer survives it and reports its death. No other failure is expected.
    reported = kill.target == "trainer" and victim.failed_with("TrainerDied")
    assert victim.failure is None or reported, f"it failed before it was killed: {victim.failure}"
    return None if victim.succeeded else victim


def wake(
    kafka: KafkaConnection, workers: Workers, work: Work, points: Sequence[Point], draws: Random, tally: Tally
) -> None:
    """Halt an attempt as if its machine hung, let a second one finish the work, and wake the first: it is fenced."""
    with Witness(kafka, work.witnessed) as witness:
        for piece, point in enumerate(points):
            zombie = workers.start(work.jobs(piece, draws)[0], halt=(point, draws.randint(1, 3)))
            assert zombie.reaches("halted"), f"it did not halt {point}: {zombie.events}"
            tally.recovered.append(_seconds(workers, work.jobs(piece, draws)))
            zombie.wake()
            zombie.end()
            fenced = any(map(zombie.failed_with, FENCED))
            assert fenced, f"it was not fenced after its halt {point}: {zombie.events}"
        tally.judge(work, witness, len(points))
