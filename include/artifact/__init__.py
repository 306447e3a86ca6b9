"""A model as files: card, weights, figures and digests."""
