"""The file about a running stack, by which other processes find it, wait for it, and end what it left."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.local.errors import StackError
from include.storage.atomic import whole_file

if TYPE_CHECKING:
    from pathlib import Path

Status = Literal["starting", "ready", "stopping", "stopped", "failed"]


class ProcessMark(BaseModel):
    """A process, distinguishable from a later one with the same pid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    created: float = Field(description="seconds since the epoch, from psutil")
    session: int = Field(description="id of the session it belongs to")


class Ending(BaseModel):
    """How a part of the stack ended, the last time."""

    model_config = ConfigDict(extra="forbid")

    at: datetime
    how: str = Field(description='such as "was killed by SIGKILL"')
    log: str = Field(description="the end of its log")
    times: int = Field(description="how often it has ended since the stack's start")
    again: datetime | None = Field(default=None, description="when it was started again")

    def sentence(self, part: str) -> str:
        """The ending of a part for a person, in local time."""
        often = f" ({self.times} times since the start)" if self.times > 1 else ""
        again = f"runs again since {local_time(self.again)}" if self.again else "is started again soon"
        return f"{part} {self.how} at {local_time(self.at)}{often}, and {again}. The end of its log:\n{self.log}"


def local_time(moment: datetime) -> str:
    """A time as a person reads it."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


class StackRecord(BaseModel):
    """The content of `record.json`; only the supervisor writes it."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    supervisor: ProcessMark
    owner: ProcessMark | None = Field(description="the stack ends with it; None in the background")
    step: str = ""
    notes: list[str] = Field(default_factory=list)
    seconds: dict[str, float] = Field(default_factory=dict, description="seconds of each step of the start")
    url: str = ""
    bootstrap_servers: str = ""
    error: str = ""
    endings: dict[str, Ending] = Field(default_factory=dict, description="by the part that ended")
    settings: dict[str, str] = Field(default_factory=dict, description="the stack's environment variables")
    processes: list[ProcessMark] = Field(
        default_factory=list, description="all started processes, to end those that are left"
    )

    @classmethod
    def load(cls, path: Path) -> StackRecord | None:
        """The record, None if no stack was ever started.

        Raises:
            StackError: the file is not a record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise StackError(
                f"{path} is not a stack's record ({reason}): end what still runs of that stack, then delete the file."
            ) from error

    def save(self, path: Path) -> None:
        """Write the record; a reader sees the old or the new one, never a part."""
        with whole_file(path) as aside:
            # The settings have the connections' passwords.
            aside.touch(mode=0o600)
            aside.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
