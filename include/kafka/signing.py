"""Signed records: a header that proves that the holder of a key wrote the record, and that it is unchanged.

The header `signature` is `<key id>:<HMAC-SHA256 in lower-case hexadecimal digits>`. The signed bytes are these
fields, one after the other, which every language can build:

    "millrace-signature/1"   20 bytes of ASCII, so that a signature for another purpose is not valid here
    schema, label, group     the contents of the headers with these names, the last one where a name occurs twice
    id                       the record's key
    value                    the record's value
    split                    the content of the header with this name, only if the record has one

Each but the first is its length in bytes, an unsigned 64-bit number in big-endian order, then its bytes. An absent
field is eight bytes 0xFF. Because of the lengths, no byte can move from one field into the next. The HMAC's key is the
secret's text in UTF-8, at least 32 bytes.

Topic, partition, timestamp and other headers are not signed: a client with write access to the topic can send a signed
record again, unchanged.
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
    """Invalid keys, or no keys although records must be signed."""


@dataclass(frozen=True, repr=False)
class SigningKeys:
    """The key that signs, and all keys that verify, including retired ones.

    Args:
        current: id of the key that signs.
        secrets: the secrets by key id.

    Raises:
        InvalidSigningKeys: an id or a secret is invalid.
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
        """With the secrets: only for a pipe to another process."""
        return {"current": self.current, "secrets": dict(self.secrets)}

    def sign(self, key: bytes | None, value: bytes | None, headers: Headers) -> tuple[str, bytes]:
        """The signature header for a record with this key, value and headers."""
        key_id = self.current.encode()
        return SIGNATURE, key_id + b":" + _digest(self._secrets[key_id], key, value, headers)

    def verify(self, message: Message, headers: Headers) -> tuple[Headers, Refusal | None]:
        """The headers without the signature, of which a topic has few distinct sets, and why the signature is refused.

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
            return rest, Refusal("unknown-key", f"The signing key is {key_id[:64]!r} and the known keys are {known}.")
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
