"""How long a new pipeline trains, and on how much at a time, by the number and the size of its samples."""

# The size of a training batch unless the data are few.
BATCH_SIZE = 64
# Few samples are trained on more often, so that the network has about so many steps to learn in.
STEPS, EPOCHS, MAX_EPOCHS = 300, 10, 40
# The share of samples that are neither requests nor held out.
TRAINED_ON = 0.72
# The encoded samples that are shuffled together have about so many bytes, and at least so many batches.
WINDOW_BYTES, LEAST_BATCHES = 128 * 2**20, 2


def batch_size(samples: int) -> int:
    """A power of two, at most an eighth of few samples, so that an epoch has several batches."""
    return max(2, min(BATCH_SIZE, 2 ** ((samples // 8).bit_length() - 1))) if samples >= 8 else 2


def epochs(samples: int) -> int:
    """At least `EPOCHS`, and more for few samples."""
    batches = max(1.0, samples * TRAINED_ON / batch_size(samples))
    return max(EPOCHS, min(MAX_EPOCHS, round(STEPS / batches)))


def window(samples: int, largest: int) -> int | None:
    """Whole batches of `WINDOW_BYTES` together; None where all samples have no more.

    Args:
        largest: bytes of the largest encoded sample.
    """
    size = batch_size(samples)
    fitting = max(LEAST_BATCHES, WINDOW_BYTES // (largest * size)) * size
    return fitting if fitting < samples else None
