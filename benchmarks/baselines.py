"""Classical models of scikit-learn, which a new pipeline's first model has to reach: one for each modality."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
import soundfile
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from include.codecs import AudioCodec, LogMel, TextCodec

if TYPE_CHECKING:
    from include.codecs.base import Codec

COEFFICIENTS, BANDS, WINDOW_S = 20, 40, 0.025
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LabelledRecords:
    """Records' values and their labels."""

    values: Sequence[bytes]
    labels: Sequence[str]


@dataclass(frozen=True)
class Baseline:
    """A model by its name, and what it takes of a list of values."""

    name: str
    features: Callable[[Sequence[bytes]], Any]
    model: Any

    def accuracy(self, train: LabelledRecords, held_out: LabelledRecords) -> float:
        """Fit on one side of a split and score on the other."""
        self.model.fit(self.features(train.values), train.labels)
        return float(self.model.score(self.features(held_out.values), held_out.labels))


def baseline_for(codec: Codec) -> Baseline:
    """The baseline for a pipeline's format."""
    if isinstance(codec, TextCodec):
        model = make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), min_df=2, sublinear_tf=True), LinearSVC()
        )
        return Baseline("character tf-idf, linear SVM", lambda values: [value.decode() for value in values], model)
    if isinstance(codec, AudioCodec):
        return Baseline("MFCC means, SVM", _mfcc_means, make_pipeline(StandardScaler(), SVC(C=10)))
    return Baseline(
        "pixels, SVM",
        lambda values: codec.to_inputs(codec.decode(values).samples).reshape(len(values), -1),
        SVC(C=10),
    )


def _mfcc_means(values: Sequence[bytes]) -> Array:
    """float32 (n, coefficients): the means over the frames of each whole sound, without its padding."""
    return np.array([_mfcc(value).mean(axis=1) for value in values])


def _mfcc(value: bytes) -> Array:
    """Mel-frequency cepstral coefficients (Davis and Mermelstein, 1980): float32 (coefficients, frames)."""
    wave, rate = soundfile.read(io.BytesIO(value), dtype="int16", always_2d=True)
    n_fft = 2 ** round(np.log2(2 * WINDOW_S * rate))
    settings = LogMel(n_fft=n_fft, hop=n_fft // 2, n_mels=BANDS)
    spectrogram = settings.of(wave.mean(axis=1).astype(np.int16)[None, None], rate)[0, 0]
    coefficients: Array = scipy.fft.dct(spectrogram, axis=0, norm="ortho")[:COEFFICIENTS]
    return coefficients
