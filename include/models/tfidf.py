"""A linear classifier of texts by their hashed byte n-grams, each weighted by how few texts have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.models.base import ModelDefinition
from include.models.ngrams import NO_NGRAM, hashed_ngrams

if TYPE_CHECKING:
    import torch
    from torch import nn

# The length of every text's weights together, and the input of the bias: with it, usual learning rates suit.
NORM = 10.0


class TfIdf(ModelDefinition):
    """Logistic regression on tf-idf weights (Salton and Buckley, 1988), over the n-grams of `include.models.ngrams`.

    The weight of an n-gram in a text is (1 + log of its count there) times minus the log of the share of texts that
    have it, or 0 if none has; a text's weights together have the length `NORM`. The texts that have each n-gram are
    counted during the training, in buffers: each epoch counts them again, which changes no share.

    Take `[training] optimizer = "sgd"` for it. AdamW moves the number of an n-gram that one text has nearly as far as
    that of one that all have, so that single texts are learnt by heart. What nearly all texts have weighs nothing, or
    it would limit the learning rate.

    Args:
        lengths: of the n-grams, in bytes.
        buckets: number of n-grams that are distinguished, for each of which and each label there is a number.
    """

    kind: Literal["tfidf"] = "tfidf"
    lengths: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1)] = (1, 2, 3, 4, 5)
    buckets: Annotated[int, Field(ge=1, le=2**24)] = 2**18

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 1:
            raise ValueError(
                f"A tf-idf network takes texts of shape (length,) and the format has shape {input_shape}: choose "
                "another [model] kind."
            )
        return _linear(frozenset(self.lengths), self.buckets, outputs)


def _linear(lengths: frozenset[int], buckets: int, outputs: int) -> nn.Module:
    import torch
    from torch import nn

    class LinearTfIdf(nn.Module):
        texts: torch.Tensor
        texts_with: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.numbers = nn.Parameter(torch.zeros(1 + buckets, outputs))
            self.bias = nn.Parameter(torch.zeros(outputs))
            # A float32 that has 2**24 gets no larger by 1, and ten epochs of two million texts have more.
            self.register_buffer("texts", torch.zeros((), dtype=torch.float64))
            self.register_buffer("texts_with", torch.zeros(1 + buckets, dtype=torch.float64))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            ngrams, counts = counted_ngrams(hashed_ngrams(inputs, lengths, buckets))
            if self.training:
                found = ngrams[ngrams != NO_NGRAM]
                self.texts += (ngrams != NO_NGRAM).any(dim=1).sum()
                self.texts_with.index_add_(0, found, torch.ones_like(found, dtype=self.texts_with.dtype))
            # What no text has had says nothing, and would shorten what is known.
            rarity = torch.where(self.texts_with > 0, torch.log((self.texts / self.texts_with).float()), 0)
            weights = torch.where(ngrams != NO_NGRAM, (1 + counts.log()) * rarity[ngrams], 0)
            weights = nn.functional.normalize(weights, dim=1)
            summed = nn.functional.embedding_bag(
                ngrams, self.numbers, mode="sum", per_sample_weights=weights, padding_idx=NO_NGRAM
            )
            return NORM * (self.bias + summed)

    return LinearTfIdf()


def counted_ngrams(ngrams: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The different n-grams of each text, and how often each is there.

    Args:
        ngrams: int64 (batch, n), with `NO_NGRAM` for none.

    Returns:
        the n-grams, int64 (batch, n) and `NO_NGRAM` after the last; their counts, float32 (batch, n), 1 at least.
    """
    import torch

    ordered, _ = ngrams.sort(dim=1)
    place = torch.zeros_like(ordered)
    place[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(dim=1)
    counts = torch.zeros(ngrams.shape, device=ngrams.device).scatter_add_(1, place, torch.ones_like(place).float())
    return torch.zeros_like(ordered).scatter_(1, place, ordered), counts.clamp_(min=1)
