"""Spectrograms show a sound at its time, frequency and level, with the same numbers as librosa."""

from __future__ import annotations

import numpy as np
import pytest

from include.codecs._spectrogram import LogMel
from tests.support.sounds import tone

RATE = 16_000


def spectrogram(settings, wave, rate=RATE):
    """float32 (n_mels, frames)."""
    return settings.of(np.rint(wave * 32_767).astype(np.int16)[None, None], rate)[0, 0]


def middles(settings, rate=RATE):
    """The centre frequency of each band in Hz."""
    return settings.filters(rate).argmax(axis=0) * rate / settings.n_fft


# The first numbers of two bands, computed with librosa 0.11.0:
# filters.mel(sr=16000, n_fft=128, n_mels=6, fmin=100, fmax=7000, htk=True, norm=None).
LIBROSA = {
    0: [0, 0.081821, 0.490929, 0.900036, 0.776296, 0.480256, 0.184215, 0, 0, 0, 0, 0],
    1: [0, 0, 0, 0, 0.223704, 0.519744, 0.815785, 0.91908, 0.704857, 0.490635, 0.276412, 0.062189],
}


def test_the_filters_are_those_of_librosa():
    filters = LogMel(n_fft=128, hop=64, n_mels=6, fmin=100, fmax=7000).filters(RATE)

    for band, expected in LIBROSA.items():
        assert filters[: len(expected), band] == pytest.approx(expected, abs=1e-6)


def test_neighbouring_bands_add_up_to_one_between_their_centres():
    settings = LogMel(n_fft=1024, hop=256, n_mels=20)
    frequencies = np.linspace(0, RATE / 2, 513)
    between = (frequencies > middles(settings)[0] + 16) & (frequencies < middles(settings)[-1] - 16)

    np.testing.assert_allclose(settings.filters(RATE).sum(axis=1)[between], 1)


@pytest.mark.parametrize("band", [0, 5, 17, 31])
def test_a_tone_is_loudest_in_its_own_band(band):
    settings = LogMel(n_fft=1024, hop=256, n_mels=32)

    found = spectrogram(settings, tone(middles(settings)[band], seconds=0.5, rate=RATE))

    assert set(found[:, 3:-3].argmax(axis=0)) == {band}


@pytest.mark.parametrize(("level", "shown"), [(1.0, 1.0), (0.1, 0.75), (0.01, 0.5), (0.0, 0.0)])
def test_twenty_decibels_less_are_a_quarter_less(level, shown):
    settings = LogMel(n_fft=1024, hop=256, n_mels=32)

    found = spectrogram(settings, tone(middles(settings)[17], seconds=0.5, rate=RATE, level=level))

    assert found[17, 3:-3] == pytest.approx(shown, abs=0.03)


def test_a_sound_is_shown_at_its_time():
    settings = LogMel(n_fft=512, hop=128)
    wave = np.zeros(12_800)
    wave[6400:6528] = tone(1000, seconds=0.008, rate=RATE)

    found = spectrogram(settings, wave)

    assert found.shape == settings.shape(12_800)[1:] == (40, 101)
    assert found.max(axis=0).argmax() in (50, 51)
    assert (found[:, :47] == 0).all()
    assert (found[:, 55:] == 0).all()


def test_a_sound_has_the_same_spectrogram_in_any_batch(monkeypatch):
    settings = LogMel(n_fft=64, hop=32, n_mels=8)
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (7, 1, 800)).astype(np.int16)
    alone = np.concatenate([settings.of(sample[None], RATE) for sample in samples])

    np.testing.assert_allclose(settings.of(samples, RATE), alone, atol=1e-5)
    monkeypatch.setattr("include.codecs._spectrogram.TRANSFORMED", 2000)
    np.testing.assert_allclose(settings.of(samples, RATE), alone, atol=1e-5)
