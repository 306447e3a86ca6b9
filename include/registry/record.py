"""What the ledger has of model versions: the digest that each was registered with, and which were promoted.

Whoever may write to MLflow may change a version's files together with the digest beside them, or name another version
champion. The ledger has both from the steps that trained and promoted, signed where the pipeline's records are.
"""

from __future__ import annotations

import logging
from typing import Any

from include.artifact.card import WrongModel
from include.definition.model_reference import CHAMPION
from include.exactly_once.attempt import Attempt
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, versions

log = logging.getLogger(__name__)

STEP = "model"
# The scope of the entry that says that every version has one.
COMPLETE = "complete"


def model_writer(connection: KafkaConnection, pipeline: str) -> TransactionalWriter:
    """The writer of the entries, under the transactional id of the training.

    A training, a promotion, an approval and a rollback decide by entries that the others write. So each fences the
    others: two at once would undo what one of them has recorded.
    """
    return Attempt(connection, pipeline, "train", run="").writer()


def require_recordable(connection: KafkaConnection, name: str) -> None:
    """Refuse a training whose version could not be recorded at its end.

    Raises:
        AccessDenied: a right on the transactional id or on the ledger is missing.
        TopicMissing: there is no ledger.
    """
    with model_writer(connection, name) as writer:
        writer.require_ledger()


def record_version(connection: KafkaConnection, registry: Registry, registered: Version) -> None:
    """Record a version that this step has trained and registered.

    With the first one, all versions that MLflow has are recorded as they are, since they are from before there were
    such records.
    """
    complete = _key(connection, registered.name, COMPLETE)
    with model_writer(connection, registered.name) as writer:
        entries = writer.read_ledger([complete, _key_of(connection, registered)])
        recorded, holder = [registered], None
        if complete not in entries:
            recorded, holder = versions(registry, registered.name), champion(registry, registered.name)
        with writer.transaction():
            for version in recorded:
                before = entries.get(_key_of(connection, version))
                kept = before is not None and before["digest"] == version.digest and before["promoted"]
                writer.write_ledger(_key_of(connection, version), _entry(version, promoted=kept or version == holder))
            if complete not in entries:
                writer.write_ledger(complete, {"versions": len(recorded)})


def record_promotion(connection: KafkaConnection, promoted: Version) -> None:
    """Record that a version may be champion; its alias is moved afterwards."""
    with model_writer(connection, promoted.name) as writer, writer.transaction():
        writer.write_ledger(_key_of(connection, promoted), _entry(promoted, promoted=True))


def require_recorded(connection: KafkaConnection, found: Version, *, promoted: bool) -> bool:
    """Refuse a version that is not the one that was registered, or that was never promoted.

    Args:
        promoted: whether it was found as the champion.

    Returns:
        Whether it was ever promoted; of a version from before there were such records, True.

    Raises:
        WrongModel: the ledger has another digest, or no such version, or no promotion of it.
        TopicMissing, LedgerDamaged, ReaderStalled: see `include.exactly_once.snapshot.snapshot_ledger`.
    """
    key, complete = _key_of(connection, found), _key(connection, found.name, COMPLETE)
    entries = snapshot_ledger(connection, [key, complete])
    entry = entries.get(key)
    if entry is None and complete not in entries:
        log.warning(
            f"The ledger has no model versions of {found.name} yet: version {found.number} is used as MLflow has it, "
            "and the next training records all of them."
        )
        return True
    if entry is None:
        raise WrongModel(
            f"MLflow has version {found.number} of {found.name} and the ledger has not, though every version that a "
            "training registers is recorded there: another program created it, so choose another version."
        )
    if entry["digest"] != found.digest:
        raise WrongModel(
            f"MLflow has digest {found.digest[:12]}… for version {found.number} of {found.name} and it was registered "
            f"with {entry['digest'][:12]}…: another program has changed it, so choose another version, or train one."
        )
    if promoted and not entry["promoted"]:
        raise WrongModel(
            f"MLflow's alias {CHAMPION} names version {found.number} of {found.name}, which was never promoted: "
            "another program moved it, so set it back to a version that was, or promote this one with the train DAG."
        )
    return bool(entry["promoted"])


def _entry(version: Version, *, promoted: bool) -> dict[str, Any]:
    return {"digest": version.digest, "manifest": version.manifest_id, "promoted": promoted}


def _key_of(connection: KafkaConnection, version: Version) -> LedgerKey:
    return _key(connection, version.name, str(version.number))


def _key(connection: KafkaConnection, name: str, scope: str) -> LedgerKey:
    return LedgerKey(connection.environment, name, STEP, scope)
