"""The scale of a regression's numbers, from reading the training samples once before they are learnt from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from include.errors import Stopped
from include.targets.regression import Scale, ScaleFinder

if TYPE_CHECKING:
    from include.feed.feed import Feed


def find_scale(feed: Feed, stopped: Callable[[], bool]) -> Scale | None:
    """The scale of all targets that the feed serves; None where it serves none.

    Args:
        feed: in the log's own order, so that the same manifest gives the same scale, bit for bit.

    Raises:
        Stopped: `stopped` said so; the next attempt begins again.
    """
    finder = ScaleFinder()
    for _, targets in feed:
        finder.add(targets.numpy())
        if stopped():
            raise Stopped("Training was stopped before its first batch: the next attempt begins it.")
    return finder.scale()
