"""The text network: what it sees of a text, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from include.codecs.utf8 import Utf8Codec
from include.models.ngrams import NO_NGRAM, Ngrams, hashed_ngrams
from include.training.device import prepare_device
from tests.support.assertions import assert_readable

MANY = 2**24


def inputs_of(*texts: str, length: int = 16) -> torch.Tensor:
    codec = Utf8Codec(length=length)
    return torch.from_numpy(codec.to_inputs(codec.decode([text.encode() for text in texts]).samples))


@pytest.mark.parametrize(
    ("text", "hashed"),
    [("a", 0xE40C292C), ("foobar", 0xBF9CF968)],  # from the draft's own test vectors
)
def test_an_ngram_is_found_by_its_fnv_hash(text, hashed):
    buckets = hashed_ngrams(inputs_of(text), frozenset({len(text)}), MANY)

    assert buckets.tolist() == [[NO_NGRAM, hashed % MANY + 1]]


def test_every_ngram_of_every_text_is_there_and_none_reaches_into_the_padding():
    buckets = hashed_ngrams(inputs_of("abab", "ab"), frozenset({1, 2}), MANY)

    found = [sorted(row[row != NO_NGRAM].tolist()) for row in buckets]
    a, b, ab, ba = (
        hashed_ngrams(inputs_of(gram), frozenset({len(gram)}), MANY)[0, -1].item() for gram in ("a", "b", "ab", "ba")
    )
    assert found == [sorted([a, b, a, b, ab, ba, ab]), sorted([a, b, ab])]


def test_a_text_gets_the_same_logits_however_long_the_format_and_the_texts_beside_it_are():
    torch.manual_seed(1)
    network = Ngrams().build((16,), 3).eval()

    alone = network(inputs_of("short"))
    torch.testing.assert_close(network(inputs_of("short", length=512)), alone)
    torch.testing.assert_close(network(inputs_of("short", "a text of 16 b.."))[:1], alone)


def test_a_text_shorter_than_any_ngram_gets_logits_too():
    network = Ngrams(lengths=(4,)).build((16,), 3).eval()

    assert network(inputs_of("ab", "abc")).isfinite().all()


@pytest.mark.parametrize(("lengths", "learns"), [((1,), False), ((2,), True), ((1, 2, 3), True)])
def test_the_order_of_letters_is_learnt_from_ngrams_that_hold_several(lengths, learns):
    device = prepare_device(seed=1, threads=1)
    network = Ngrams(lengths=lengths, dimensions=8, dropout=0).build((16,), 2).to(device)
    inputs, labels = inputs_of("ab", "ba").to(device), torch.tensor([0, 1], device=device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()

    assert bool((network(inputs).argmax(dim=1) == labels).all()) is learns


def test_training_on_several_threads_gives_the_same_bits_every_time():
    def trained() -> list[np.ndarray]:
        prepare_device(seed=1, threads=2)
        network = Ngrams(buckets=64, dimensions=8).build((64,), 2)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        inputs = inputs_of(*(f"text number {number} of a batch" for number in range(256)), length=64)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), torch.arange(256) % 2).backward()
            optimizer.step()
        return [parameter.detach().numpy() for parameter in network.parameters()]

    for one, other in zip(trained(), trained(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="n-gram network") as refusal:
        Ngrams().build((1, 8, 8), 10)
    assert_readable(refusal.value, (1, 8, 8))
