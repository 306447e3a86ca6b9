"""What can go wrong between Millrace and Kafka, each as one readable sentence."""

from __future__ import annotations

from include.errors import MillraceError, PermanentError


class BrokerUnavailable(MillraceError):
    """No broker answered within the connection's timeout."""


class AccessDenied(PermanentError):
    """The broker refused the credentials, or they lack a right on a topic, group or transactional id."""


class KafkaRefused(MillraceError):
    """The broker refused a request for a reason of its own, which the text has."""


class TopicMissing(PermanentError):
    """A topic that the step reads or writes does not exist."""


class TopicRecreated(PermanentError):
    """A topic's id is not the one that the ranges or the ledger were written for."""


class RangeUnavailable(PermanentError):
    """Retention (or a deletion of records) has removed a part of a frozen range."""


class LogTruncated(PermanentError):
    """A log ends before an offset that it once had: an unclean leader election, or a restored disk, lost its tail."""


class TopicCompacted(PermanentError):
    """A topic may lose records of a frozen range at any time, so that nothing could be read from it twice."""


class LedgerLost(PermanentError):
    """The ledger knows nothing of a pipeline whose outputs hold records."""


class ReaderStalled(MillraceError):
    """A reader received nothing for longer than its limit though its range is not at its end."""


class RecordTooLarge(PermanentError):
    """A record is larger than its topic takes; the broker would refuse the whole transaction."""


class TransactionFailed(MillraceError):
    """A transaction was not committed, or its outcome is unknown: take a new writer and read the ledger again."""


class Fenced(PermanentError):
    """A newer owner of the same transactional id has taken over; this one must not go on."""
