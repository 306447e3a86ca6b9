"""The tf-idf network: its weights are scikit-learn's, and its state says what it has counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize

from include.codecs.utf8 import Utf8Codec
from include.models.ngrams import NO_NGRAM, hashed_ngrams
from include.models.tfidf import NORM, TfIdf, counted_ngrams
from include.training.device import prepare_device
from tests.support.assertions import assert_readable

MANY = 2**20
TEXTS = ("abab", "a b, c", "bcbc abc", "x", "cab")


def inputs_of(*texts: str, length: int = 16) -> torch.Tensor:
    codec = Utf8Codec(length=length)
    return torch.from_numpy(codec.to_inputs(codec.decode([text.encode() for text in texts]).samples))


def counted_once(network: torch.nn.Module, *texts: str) -> torch.nn.Module:
    network.train()
    with torch.no_grad():
        network(inputs_of(*texts))
    return network.eval()


def test_every_ngram_of_a_text_is_there_once_with_its_count():
    found = hashed_ngrams(inputs_of("abab", "ab"), frozenset({1, 2}), MANY)
    ngrams, counts = counted_ngrams(found)

    a, b, ab, ba = (
        hashed_ngrams(inputs_of(gram), frozenset({len(gram)}), MANY)[0, -1].item() for gram in ("a", "b", "ab", "ba")
    )
    rows = [
        {ngram: count for ngram, count in zip(*row, strict=True) if ngram != NO_NGRAM}
        for row in zip(ngrams.tolist(), counts.tolist(), strict=True)
    ]
    assert rows == [{a: 2, b: 2, ab: 2, ba: 1}, {a: 1, b: 1, ab: 1}]


def test_texts_are_as_alike_as_scikit_learn_s_tf_idf_says():
    """With the weights of a text as the network's numbers, the logit of another is the product of both."""
    counts = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False).fit_transform(TEXTS)
    weights = TfidfTransformer(sublinear_tf=True, use_idf=False, norm=None).fit_transform(counts).toarray()
    weights = normalize(weights * np.log(len(TEXTS) / (counts > 0).sum(axis=0).A1))
    alike = torch.from_numpy(weights @ weights.T).float()
    network = counted_once(TfIdf(lengths=(1, 2, 3), buckets=MANY).build((16,), len(TEXTS)), *TEXTS)

    with torch.no_grad():
        for place, text in enumerate(TEXTS):
            with torch.enable_grad():
                network(inputs_of(text))[0, place].backward()
        # The derivatives of a logit by its numbers are the weights of the text, times NORM.
        network.numbers.copy_(network.numbers.grad / NORM)
        logits = network(inputs_of(*TEXTS)) / NORM

    torch.testing.assert_close(logits, alike, atol=1e-5, rtol=1e-4)


def test_only_a_training_counts_texts_and_what_it_counted_is_saved():
    network = TfIdf(buckets=64).build((16,), 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()(inputs_of(*TEXTS))
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())

    counted_once(network, *TEXTS)
    another = TfIdf(buckets=64).build((16,), 2).eval()
    another.load_state_dict(network.state_dict())
    with torch.no_grad():
        network.numbers.normal_()
        another.numbers.copy_(network.numbers)
    assert network.texts.item() == len(TEXTS)
    assert torch.equal(another(inputs_of("abc")), network(inputs_of("abc")))


def test_what_all_of_many_texts_have_weighs_nothing():
    network = TfIdf(buckets=64).build((16,), 2)
    for counted in (network.texts, network.texts_with):
        counted.fill_(2**24)  # where a float32 stays at 1 more

    counted_once(network, *["ab"] * 8)

    assert network.texts == 2**24 + 8
    found = set(hashed_ngrams(inputs_of("ab"), frozenset(range(1, 6)), 64).unique().tolist()) - {NO_NGRAM}
    assert {network.texts_with[ngram].item() for ngram in found} == {2**24 + 8}
    torch.nn.init.normal_(network.numbers)
    assert torch.equal(network(inputs_of("ab")), torch.zeros(1, 2))


def test_counts_of_float32_from_an_earlier_release_are_read_and_give_the_same_bits():
    network = counted_once(TfIdf(buckets=64).build((16,), 3), *TEXTS)
    torch.nn.init.normal_(network.numbers)
    saved = {name: value.float() for name, value in network.state_dict().items()}
    rarity = torch.where(saved["texts_with"] > 0, torch.log(saved["texts"] / saved["texts_with"]), 0)

    another = TfIdf(buckets=64).build((16,), 3).eval()
    another.load_state_dict(saved)

    assert another.texts_with.dtype == torch.float64
    assert torch.equal(another(inputs_of(*TEXTS)), network(inputs_of(*TEXTS)))
    for text in TEXTS:  # as that release computed them
        ngrams, counts = counted_ngrams(hashed_ngrams(inputs_of(text), frozenset(range(1, 6)), 64))
        weights = torch.where(ngrams != NO_NGRAM, (1 + counts.log()) * rarity[ngrams], 0)
        weights = torch.nn.functional.normalize(weights, dim=1)
        summed = torch.nn.functional.embedding_bag(
            ngrams, saved["numbers"], mode="sum", per_sample_weights=weights, padding_idx=NO_NGRAM
        )
        assert torch.equal(another(inputs_of(text)), NORM * (saved["bias"] + summed))


def test_a_text_gets_the_same_logits_however_long_the_format_and_the_texts_beside_it_are():
    network = counted_once(TfIdf(buckets=64).build((16,), 3), *TEXTS)
    torch.nn.init.normal_(network.numbers)

    alone = network(inputs_of("short"))
    torch.testing.assert_close(network(inputs_of("short", length=512)), alone)
    torch.testing.assert_close(network(inputs_of("short", "a text of 16 b.."))[:1], alone)


def test_a_text_shorter_than_any_ngram_gets_logits_too():
    network = TfIdf(lengths=(4,)).build((16,), 3)

    assert network.train()(inputs_of("ab", "abc")).isfinite().all()
    assert network.eval()(inputs_of("ab", "abc")).isfinite().all()


def test_training_on_several_threads_gives_the_same_bits_every_time():
    def trained() -> list[np.ndarray]:
        prepare_device(seed=1, threads=2)
        network = TfIdf(buckets=64).build((64,), 2)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        inputs = inputs_of(*(f"text number {number} of a batch" for number in range(256)), length=64)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), torch.arange(256) % 2).backward()
            optimizer.step()
        return [value.detach().numpy() for value in network.state_dict().values()]

    for one, other in zip(trained(), trained(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="tf-idf network") as refusal:
        TfIdf().build((1, 8, 8), 10)
    assert_readable(refusal.value, (1, 8, 8))
