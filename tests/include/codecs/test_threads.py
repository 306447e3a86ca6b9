"""Decoding in threads: values keep their order, and no thread exists when the process forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from include.codecs import _threads as threads
from include.codecs._threads import MAX_THREADS, allow_threads, available_threads, begin_each, for_each
from include.codecs.jpeg import JpegCodec
from include.storage.state import PROJECT_ROOT
from tests.support.corpus import saved

COLOUR = JpegCodec(height=128, width=128, channels=3)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(threads, "_allowed", None)


def pictures(count):
    """JPEGs, each brighter than the one before it, with enough noise to be decoded in threads."""
    noise = np.random.default_rng(1).integers(-20, 20, COLOUR.sample_shape)
    return [COLOUR.encode((noise + 40 + 2 * number).astype(np.uint8)) for number in range(count)]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_samples_keep_the_order_of_values_with_any_number_of_threads(number):
    values = pictures(40)
    values[3:3] = [None, values[7][:-50]]
    allow_threads(1)
    one = COLOUR.decode(values)

    allow_threads(number)
    several = COLOUR.decode(values)

    np.testing.assert_array_equal(several.samples, one.samples)
    assert several.positions.tolist() == one.positions.tolist() == [0, 1, 2, *range(5, 42)]
    assert [(position, refusal.reason) for position, refusal in several.refusals.items()] == [
        (3, "empty"),
        (4, "undecodable"),
    ]
    brightness = one.samples.mean(axis=(1, 2, 3))
    assert (np.diff(brightness) > 0).all(), "each image is brighter than the one before it"


def test_decoding_uses_the_allowed_threads_and_leaves_none():
    allow_threads(3)
    begun, waiting = set(), threading.Barrier(3, timeout=30)

    def work(position):
        begun.add(threading.current_thread())
        if position < 3:
            waiting.wait()  # the third one lets all go on

    for_each(work, 30, threads=available_threads())

    assert len(begun) == 3
    assert begun & set(threading.enumerate()) == {threading.current_thread()}, "the caller works, too"


def test_a_pool_s_thread_goes_on_with_the_next_work_while_another_is_at_the_end_of_this_one():
    """No decoder is idle at the end of a batch."""
    following = threading.Event()
    reached = []

    def first(position):
        if position == 1:
            reached.append(following.wait(30))

    with ThreadPoolExecutor(2) as pool:
        begun = begin_each(first, 2, pool, threads=2)
        begun += begin_each(lambda _: following.set(), 2, pool, threads=2)
        for part in begun:
            part.result()

    assert reached == [True]


@pytest.mark.parametrize("of_caller", [True, False], ids=["of the caller", "of another thread"])
def test_an_exception_is_raised_when_all_threads_have_ended(of_caller):
    caller, waiting, done = threading.current_thread(), threading.Barrier(2, timeout=30), []

    def work(position):
        if position < 2:
            waiting.wait()  # each thread has one of the first two
            if (threading.current_thread() is caller) == of_caller:
                raise MemoryError("no room")
        done.append(position)

    with pytest.raises(MemoryError, match="no room"):
        for_each(work, 30, threads=2)

    assert len(done) == 29, "the other thread did the rest"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only processes that can fork")
def test_a_child_of_a_fork_decodes():
    """As Airflow's tasks are forked. A pool that lived on would have no threads there, and the child would hang."""
    values = pictures(20)
    COLOUR.decode(values)
    child = os.fork()
    if not child:
        decoded = 0
        try:
            decoded = len(COLOUR.decode(values).positions)
        finally:
            os._exit(decoded)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 20


def test_without_a_setting_there_is_a_thread_for_each_processor():
    assert 1 <= available_threads() <= MAX_THREADS


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_the_first_images_of_a_process_are_decoded_in_several_threads(name):
    """A decoder is imported before threads use it."""
    program = f"""
from include.codecs._threads import allow_threads
from include.codecs.{name} import {name.title()}Codec as ImageCodec
allow_threads(8)
decoded = ImageCodec(height=128, width=128, channels=3, resize='pad').decode([open(0, 'rb').read()] * 32)
assert len(decoded.positions) == 32, decoded.refusals
"""
    noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3), np.uint8)
    value = saved(Image.fromarray(noise), name)
    subprocess.run([sys.executable, "-c", program], input=value, cwd=PROJECT_ROOT, check=True, timeout=60)
