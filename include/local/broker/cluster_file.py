"""A data folder's `cluster.json`: identity, ports, and the started processes."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.local.errors import BrokerError
from include.storage.atomic import whole_file

if TYPE_CHECKING:
    from pathlib import Path

FILENAME = "cluster.json"


class NodeRecord(BaseModel):
    """One node: id from 1, its ports, and its last process."""

    id: int = Field(ge=1)
    port: int
    controller_port: int
    pid: int | None = None


class ClusterRecord(BaseModel):
    """The content of a data folder's `cluster.json`."""

    model_config = ConfigDict(extra="forbid")

    cluster_id: str
    secure: bool = Field(default=False, description="whether clients have to log in, see security.py")
    nodes: list[NodeRecord] = Field(min_length=1)

    @classmethod
    def load(cls, data_dir: Path) -> ClusterRecord | None:
        """The record of a data folder, None if no cluster was ever created there.

        Raises:
            BrokerError: the file cannot be read as a record.
        """
        path = data_dir / FILENAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise BrokerError(
                f"{path} is not a broker's record ({reason}): restore it, or delete the data folder {data_dir} if its "
                "topics may go."
            ) from error

    def save(self, data_dir: Path) -> None:
        """Write the record; a reader sees the old or the new one, never a part."""
        with whole_file(data_dir / FILENAME) as aside:
            aside.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def new_cluster_id() -> str:
    """A random cluster id in Kafka's format: 16 bytes, URL-safe base64, not starting with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
