"""Approval: a person decides about a challenger that the rules let be champion, and the ledger keeps who."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from include.errors import MillraceError, PermanentError, printable
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.kafka.connection import KafkaConnection
from include.registry.agreement import Agreement
from include.registry.promotion import Comparison, crown, in_words
from include.registry.record import model_writer, require_recorded
from include.registry.tracking import Registry, open_registry
from include.registry.versions import Version, champion, drop_challenger, version

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

STEP = "approval"
# Larger matrices are no help to a person; the classes that are recognised least are listed instead.
SHOWN_CLASSES = 20

Decision = Literal["approved", "refused", "expired"]


class NotApproved(PermanentError):
    """No person has approved this version in this run."""


class ApprovalExpired(PermanentError):
    """Nobody has decided in time."""


class ChampionChanged(PermanentError):
    """Another version became champion after the comparison that a person has approved."""


@dataclass(frozen=True)
class Approval:
    """What was decided about a version.

    Attributes:
        before: the number of the champion that it was compared with; None if there was none.
        by: the person; None where the time was up.
        run: the workflow run that asked.
    """

    version: int
    before: int | None
    decision: Decision
    by: str | None
    run: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def record_approval(connection: KafkaConnection, name: str, decided: Approval) -> None:
    """Write a decision to the ledger, in place of an earlier one about the same version."""
    with model_writer(connection, name) as writer, writer.transaction():
        writer.write_ledger(_key(connection, name, decided.version), decided.to_dict())
    log.info("Version %d of %s: %s by %s.", decided.version, name, decided.decision, decided.by or "nobody in time")


def end_challenge(name: str, number: int) -> None:
    """Let a version that was not approved no longer predict beside the champion.

    The decision counts also while MLflow does not answer; the version then goes on until the next challenger.
    """
    try:
        drop_challenger(open_registry(), name, number)
    except MillraceError as error:
        log.warning("Version %d of %s goes on beside the champion: %s", number, name, error)


def promote_approved(
    connection: KafkaConnection,
    registry: Registry,
    name: str,
    number: int,
    run: str,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Version, Approval]:
    """Make a version champion that a person has approved in this run; nothing to do if it is champion already.

    Raises:
        NotApproved: the ledger has no approval of it by this run.
        ChampionChanged: the champion is another one than the person has seen.
        Stopped, NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
    """
    challenger = version(registry, name, number)
    require_recorded(connection, challenger, promoted=False)
    key = _key(connection, name, number)
    entry = snapshot_ledger(connection, [key]).get(key)
    if entry is None or (entry["run"], entry["decision"]) != (run, "approved"):
        raise NotApproved(
            f"Version {number} of {name} was not approved in run {run}: clear approve_model, which asks again."
        )
    decided = Approval(**entry)
    holder = champion(registry, name)
    now = None if holder is None else holder.number
    if now == number:
        return challenger, decided
    if now != decided.before:
        raise ChampionChanged(
            f"Version {number} of {name} was compared with {in_words(decided.before)} when {decided.by} approved it, "
            f"and it is {in_words(now)} now: clear compare_models, which compares and asks again."
        )
    crown(connection, registry, challenger, stopped)
    drop_challenger(registry, name, number)
    return challenger, decided


def describe(compared: Comparison, agreement: Agreement | None = None) -> str:
    """Both models' figures and confusion matrices in Markdown, for the person who decides.

    Args:
        agreement: of the two versions on requests; None where the challenger answers none.
    """
    decision, found, other = compared.decision, compared.found, compared.other
    models = [(f"version {decision.version}", found)]
    if other is not None:
        models.append((f"champion {decision.champion_version}", other))
    names = [name for name in found.metrics if all(name in evaluation.metrics for _, evaluation in models)]
    figures = [[name, *(f"{evaluation.metrics[name]:.4f}" for _, evaluation in models)] for name in names]
    figures.append(["loss", *(f"{evaluation.loss:.4f}" for _, evaluation in models)])
    figures.append(["held-out samples", *(str(evaluation.samples) for _, evaluation in models)])
    parts = [decision.reason, _table(["", *(name for name, _ in models)], figures)]
    if agreement is not None:
        parts += _agreement(decision.version, agreement)
    matrices = [(name, evaluation.confusion) for name, evaluation in models if evaluation.confusion is not None]
    if matrices and len(compared.labels) > SHOWN_CLASSES:
        parts += [f"The {SHOWN_CLASSES} classes that are recognised least:", _least(compared.labels, matrices)]
    elif matrices:
        for name, confusion in matrices:
            rows = [[label, *map(str, row)] for label, row in zip(compared.labels, confusion.tolist(), strict=True)]
            parts += [f"Confusion matrix of {name}, true labels down and predicted ones across:"]
            parts += [_table(["", *compared.labels], rows)]
    return "\n\n".join(parts)


def _agreement(version: int, found: Agreement) -> list[str]:
    if not found.requests:
        text = (
            f"Version {version} has answered no requests beside the champion yet: it does so from now on, and the page "
            "Models of the pipeline shows how they agree."
        )
        return [text]
    parts = [f"Beside the champion, version {version} {found}."]
    if found.disagreements:
        rows = [[apart.request, apart.champion, apart.challenger] for apart in found.disagreements]
        parts += ["Requests that they answer in different ways, the last ones:"]
        parts += [_table(["request", "champion", f"version {version}"], rows)]
    return parts


def _least(labels: Sequence[str], matrices: Sequence[tuple[str, np.ndarray[Any, Any]]]) -> str:
    """The share of the samples that is recognised, of the classes with the smallest by the first model."""
    shares = [confusion.diagonal() / confusion.sum(axis=1).clip(1) for _, confusion in matrices]
    places = sorted(range(len(labels)), key=lambda place: float(shares[0][place]))[:SHOWN_CLASSES]
    rows = [[labels[place], *(f"{found[place]:.4f}" for found in shares)] for place in places]
    return _table(["recognised of", *(name for name, _ in matrices)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """One cell; a label is text of another program and must end neither it nor the table."""
    return printable(text)[:100].replace("\\", "\\\\").replace("|", "\\|")


def _key(connection: KafkaConnection, name: str, number: int) -> LedgerKey:
    return LedgerKey(connection.environment, name, STEP, str(number))
