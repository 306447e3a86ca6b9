"""A text network over hashed byte n-grams, without a tokenizer or a vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.models.base import ModelDefinition

if TYPE_CHECKING:
    import torch
    from torch import nn

NO_NGRAM = 0
FNV_BASIS, FNV_PRIME = 0x811C9DC5, 0x01000193


class Ngrams(ModelDefinition):
    """The mean of the n-grams' vectors and a linear layer (Joulin et al., Bag of Tricks for Efficient Text
    Classification, EACL 2017), over bytes as Bojanowski et al. (TACL 2017) do over characters.

    Inputs are byte codes, 0.0 to 255.0, padded with zeros, which are ignored. An n-gram's vector is selected by its
    32-bit FNV-1a hash (draft-eastlake-fnv), so n-grams may share a vector: the more text, the more `buckets`.

    Args:
        lengths: of the n-grams, in bytes.
        buckets: number of vectors.
        dimensions: of a vector.
    """

    kind: Literal["ngrams"] = "ngrams"
    lengths: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1)] = (1, 2, 3, 4)
    buckets: Annotated[int, Field(ge=1, le=2**24)] = 2**15
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        if len(input_shape) != 1:
            raise ValueError(
                f"An n-gram network takes texts of shape (length,) and the format has shape {input_shape}: choose "
                "another [model] kind."
            )
        vectors = nn.EmbeddingBag(1 + self.buckets, self.dimensions, mode="mean", padding_idx=NO_NGRAM)
        # Small initial weights, as in fastText: an n-gram that was never trained on has little influence.
        nn.init.uniform_(vectors.weight, -1 / self.dimensions, 1 / self.dimensions)
        nn.init.zeros_(vectors.weight[NO_NGRAM])
        return nn.Sequential(
            _hashes(frozenset(self.lengths), self.buckets),
            vectors,
            nn.Dropout(self.dropout),
            nn.Linear(self.dimensions, outputs),
        )


def _hashes(lengths: frozenset[int], buckets: int) -> nn.Module:
    from torch import nn

    class Hashes(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return hashed_ngrams(inputs, lengths, buckets)

    return Hashes()


def hashed_ngrams(inputs: torch.Tensor, lengths: frozenset[int], buckets: int) -> torch.Tensor:
    """The bucket of every n-gram of every text.

    Args:
        inputs: byte codes (batch, length), padded with zeros.

    Returns:
        int64 (batch, n): 1 to `buckets`, or `NO_NGRAM` beyond the end of a text.
    """
    import torch

    codes = inputs.long()
    # Cut off what is padding in every text of the batch, because it would cost as much as text.
    codes = codes[:, : max(1, int((codes != 0).sum(dim=1).max()))]
    hashes = torch.full_like(codes, FNV_BASIS)
    found = [torch.zeros_like(codes[:, :1])]
    for length in range(1, min(max(lengths), codes.shape[1]) + 1):
        last = codes[:, length - 1 :]
        # The hash of a longer n-gram continues that of the shorter one at the same position.
        hashes = (hashes[:, : last.shape[1]] ^ last) * FNV_PRIME & 0xFFFFFFFF
        if length in lengths:
            found.append(torch.where(last != 0, hashes % buckets + 1, NO_NGRAM))
    return torch.cat(found, dim=1)
