"""Signed records: a header that proves that the holder of a key made the record, and that it is as it was made.

The header `signature` is `<key id>:<HMAC-SHA256 in small hexadecimal digits>`. What is signed are these bytes, and any
language can put them together:

    "millrace-signature/1"   20 bytes of ASCII, so that the key's other uses can't be taken for this one
    schema, label, group     the contents of the headers of these names, the last one where a name comes twice
    id                       the record's key
    value                    the record's value

    split                    the content of the header of this name, only where there is one

each of them as its length in bytes, an unsigned number of 64 bits, most significant byte first, and then its bytes;
of one that is absent, eight bytes 0xFF alone. With the lengths nothing can be moved from one field into the next. The
HMAC's key is the secret's text in UTF-8, at least 32 bytes of it.

Topic, partition, timestamp and other headers are not signed: whoever may write to the topic can send a signed record
again, as it is.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.errors import PermanentError
from include.kafka.headers import GROUP, LABEL, SCHEMA, SPLIT, Headers
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

SIGNATURE = "signature"
PREAMBLE = b"millrace-signature/1"
ABSENT = b"\xff" * 8
MIN_SECRET_BYTES = 32
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

UNSIGNED = Refusal("unsigned", f"The record has no header {SIGNATURE}.")
MALFORMED = Refusal("wrong-signature", f"The header {SIGNATURE} is not <key id>:<hexadecimal digits>.")


class InvalidSigningKeys(PermanentError):
    """Keys that can't be signed or verified with, or none where records have to be signed."""


@dataclass(frozen=True, repr=False)
class SigningKeys:
    """The key that signs, and all those that verify, retired ones among them.

    Args:
        current: id of the key that signs.
        secrets: the secrets by key id.

    Raises:
        InvalidSigningKeys: an id or a secret is not as it has to be.
    """

    current: str
    secrets: Mapping[str, str]

    def __post_init__(self) -> None:
        for key_id, secret in self.secrets.items():
            if not KEY_ID.fullmatch(key_id):
                raise InvalidSigningKeys(
                    f"The signing key's id {key_id!r} should be 1 to 64 letters, digits, dots, dashes or underscores: "
                    "correct it in the Airflow connection."
                )
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise InvalidSigningKeys(
                    f"The secret of signing key {key_id} has {len(secret.encode())} bytes and needs at least "
                    f"{MIN_SECRET_BYTES}: make one with `openssl rand -hex 32`."
                )

    def __repr__(self) -> str:
        return f"SigningKeys(current={self.current!r}, known={sorted(self.secrets)})"

    def to_dict(self) -> dict[str, Any]:
        """With the secrets, for a pipe to another process and nothing else."""
        return {"current": self.current, "secrets": dict(self.secrets)}

    def sign(self, key: bytes | None, value: bytes | None, headers: Headers) -> tuple[str, bytes]:
        """The header for a record that has these."""
        key_id = self.current.encode()
        return SIGNATURE, key_id + b":" + _digest(self._secrets[key_id], key, value, headers)

    def verify(self, message: Message, headers: Headers) -> tuple[Headers, Refusal | None]:
        """The headers without the signature, of which a topic has few distinct sets, and what is wrong with it.

        The reason is `unsigned`, `wrong-signature` or `unknown-key`.

        Args:
            headers: the message's, from `headers_of`.
        """
        rest = tuple(header for header in headers if header[0] != SIGNATURE)
        if len(rest) == len(headers):
            return rest, UNSIGNED
        key_id, colon, digest = (dict(headers)[SIGNATURE] or b"").partition(b":")
        if not colon:
            return rest, MALFORMED
        secret = self._secrets.get(key_id)
        if secret is None:
            known = ", ".join(sorted(self.secrets))
            return rest, Refusal("unknown-key", f"The signing key is {key_id[:64]!r} and known are {known}.")
        if not hmac.compare_digest(_digest(secret, message.key(), message.value(), rest), digest):
            error = f"The signature is not that of key {key_id.decode()} over this id, value, schema, label and group."
            return rest, Refusal("wrong-signature", error)
        return rest, None

    @cached_property
    def _secrets(self) -> dict[bytes, bytes]:
        return {key_id.encode(): secret.encode() for key_id, secret in self.secrets.items()}


def _digest(secret: bytes, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    own = dict(headers)
    signed = bytearray(PREAMBLE)
    split = [own[SPLIT]] if SPLIT in own else []
    for content in (own.get(SCHEMA), own.get(LABEL), own.get(GROUP), key, value, *split):
        if content is None:
            signed += ABSENT
        else:
            signed += len(content).to_bytes(8, "big")
            signed += content
    return hmac.digest(secret, signed, "sha256").hex().encode()
