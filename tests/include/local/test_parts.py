"""A part that ends is started again, ever later if it ends soon, and what happened is kept for a person."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from include.local.errors import BrokerError
from include.local.parts import FIRST_PAUSE_S, MAX_PAUSE_S, STEADY_S, Part


@dataclass
class World:
    """A process and a clock that the test moves."""

    now: float = 0.0
    status: int | None = None
    starts: list[float] = field(default_factory=list)
    refusal: Exception | None = None

    def start(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.starts.append(self.now)
        self.status = None


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def part(world: World) -> Part:
    return Part("The scheduler", world.start, lambda: world.status, lambda: "its last words", lambda: world.now)


def pauses(world: World, part: Part, ends: int) -> list[float]:
    """The seconds from each end to the next start, of a process that ends as soon as it has started."""
    found = []
    for _ in range(ends):
        world.status, ended, before = -9, world.now, len(world.starts)
        while len(world.starts) == before:
            part.keep()
            world.now += FIRST_PAUSE_S
        found.append(world.starts[-1] - ended)
    return found


def test_a_running_part_is_left_alone(world, part):
    assert part.keep() is None
    assert world.starts == []


def test_a_part_that_ends_again_and_again_waits_ever_longer_and_is_never_given_up(world, part):
    found = pauses(world, part, 10)
    assert found[:4] == [1, 2, 4, 8]
    assert found[-1] == MAX_PAUSE_S
    assert part.ending is not None
    assert part.ending.times == 10


def test_a_part_that_has_run_for_long_starts_again_soon(world, part):
    pauses(world, part, 5)
    world.now += STEADY_S
    assert pauses(world, part, 1) == [FIRST_PAUSE_S]


def test_an_ending_says_how_and_since_when_it_runs_again(world, part):
    world.status = -9
    ended = part.keep()
    assert ended is not None
    assert "The scheduler was killed by SIGKILL at 2" in ended.sentence(part.name)
    assert "is started again soon. The end of its log:\nits last words" in ended.sentence(part.name)
    world.now += FIRST_PAUSE_S
    again = part.keep()
    assert again is not None
    assert ", and runs again since 2" in again.sentence(part.name)


def test_a_start_that_fails_is_told_and_tried_again(world, part):
    world.status, world.refusal = 1, BrokerError("Port 1 is in use.")
    part.keep()
    world.now += FIRST_PAUSE_S
    failed = part.keep()
    assert failed is not None
    assert "could not be started" in failed.sentence(part.name)
    assert "Port 1 is in use." in failed.sentence(part.name)
    world.refusal = None
    assert pauses(world, part, 1) == [2 * FIRST_PAUSE_S]
