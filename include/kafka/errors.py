"""Errors between Millrace and Kafka."""

from include.errors import MillraceError, PermanentError


class BrokerUnavailable(MillraceError):
    """No broker answered within the connection's timeout."""


class AccessDenied(PermanentError):
    """The broker refused the credentials, or they lack a right on a topic, group or transactional id."""


class KafkaRefused(MillraceError):
    """The broker refused a request for another reason, which the text names."""


class TopicMissing(PermanentError):
    """A topic that the step reads or writes does not exist."""


class TopicRecreated(PermanentError):
    """A topic's id differs from the one in frozen ranges or in the ledger: its offsets belong to other records now.

    Reading frozen ranges (`include.kafka.ranges`) and every step with a position (`include.exactly_once.progress`) end
    with it. A training takes all records of such a topic as new (`include.exactly_once.backlog`).
    """


class RangeUnavailable(PermanentError):
    """Retention, or a deletion of records, has removed a part of a frozen range."""


class LogTruncated(PermanentError):
    """A log ends before an offset that it once had: an unclean leader election or a restored disk lost its tail."""


class TopicCompacted(PermanentError):
    """Compaction may remove records of a frozen range at any time, so that no range could be read again."""


class LedgerLost(PermanentError):
    """The ledger has no entry of a pipeline whose output topics hold records."""


class LedgerDamaged(PermanentError):
    """The newest entry of a key is not one that a step has written, or contradicts what was written with it."""


class Undecompressible(PermanentError):
    """A range has records that no client can decompress, and that were damaged or made so."""


class ReaderStalled(MillraceError):
    """A reader received nothing within its limit before the end of its range."""


class RecordTooLarge(PermanentError):
    """A record is larger than its topic accepts; the broker would refuse the whole transaction."""


class TransactionFailed(MillraceError):
    """A transaction was not committed, or its outcome is unknown: open a new writer and read the ledger again."""


class Fenced(PermanentError):
    """A newer owner of the same transactional id exists; this one must stop."""
