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

Where a pipeline has an audience, the signed bytes begin with "millrace-signature/2" and the audience, its text in UTF-8
as a field like the others, and go on with the same fields. A record that was signed for another audience, or for none,
is not valid then, so that pipelines with one key don't take each other's records.

An entry of the ledger is signed in the same way over "millrace-ledger/1", its key and its value: its key names
environment, pipeline, step and scope.

Topic, partition, timestamp and other headers are not signed: a client with write access to a topic of the audience can
send a signed record again, unchanged.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from include.errors import PermanentError
from include.kafka.headers import GROUP, LABEL, SCHEMA, SPLIT, Headers
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

SIGNATURE = "signature"
PREAMBLE = b"millrace-signature/1"
AUDIENCE_PREAMBLE = b"millrace-signature/2"
ENTRY_PREAMBLE = b"millrace-ledger/1"
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
        audience: whom records are signed for; None for anybody with the key.

    Raises:
        InvalidSigningKeys: an id or a secret is invalid.
    """

    current: str
    secrets: Mapping[str, str]
    audience: str | None = None

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

    def sign(self, key: bytes | None, value: bytes | None, headers: Headers) -> tuple[str, bytes]:
        preamble, audience = self._audience
        return self._sign(preamble, (*audience, *_record_fields(key, value, headers)))

    def verify(self, message: Message, headers: Headers) -> tuple[Headers, Refusal | None]:
        """The headers without the signature, of which a topic has few distinct sets, and why the signature is refused.

        The reason is `unsigned`, `wrong-signature` or `unknown-key`.

        Args:
            headers: the message's, from `headers_of`.
        """
        rest = tuple(header for header in headers if header[0] != SIGNATURE)
        preamble, audience = self._audience
        fields = (*audience, *_record_fields(message.key(), message.value(), rest))
        named = "id, value, schema, label and group"
        if audience:
            named += f" for the audience {self.audience}"
        return rest, self._refusal(headers, preamble, fields, named)

    def sign_entry(self, key: bytes, value: bytes | None) -> tuple[str, bytes]:
        return self._sign(ENTRY_PREAMBLE, (key, value))

    def verify_entry(self, key: bytes, value: bytes | None, headers: Headers) -> Refusal | None:
        """Why the signature of an entry of the ledger is refused."""
        return self._refusal(headers, ENTRY_PREAMBLE, (key, value), "key and value")

    def is_current(self, headers: Headers) -> bool:
        """Whether the signature is of the key that signs, and not of a retired one."""
        return (dict(headers).get(SIGNATURE) or b"").startswith(self.current.encode() + b":")

    def _sign(self, preamble: bytes, fields: Iterable[bytes | None]) -> tuple[str, bytes]:
        key_id = self.current.encode()
        return SIGNATURE, key_id + b":" + _digest(self._secrets[key_id], preamble, fields)

    def _refusal(self, headers: Headers, preamble: bytes, fields: Iterable[bytes | None], names: str) -> Refusal | None:
        signatures = [content for name, content in headers if name == SIGNATURE]
        if not signatures:
            return UNSIGNED
        key_id, colon, digest = (signatures[-1] or b"").partition(b":")
        if not colon:
            return MALFORMED
        secret = self._secrets.get(key_id)
        if secret is None:
            known = ", ".join(sorted(self.secrets))
            return Refusal("unknown-key", f"The signing key is {key_id[:64]!r} and the known keys are {known}.")
        if not hmac.compare_digest(_digest(secret, preamble, fields), digest):
            return Refusal("wrong-signature", f"The signature is not that of key {key_id.decode()} over this {names}.")
        return None

    @cached_property
    def _audience(self) -> tuple[bytes, tuple[bytes, ...]]:
        """The preamble of records, and the fields before their own."""
        return (PREAMBLE, ()) if self.audience is None else (AUDIENCE_PREAMBLE, (self.audience.encode(),))

    @cached_property
    def _secrets(self) -> dict[bytes, bytes]:
        return {key_id.encode(): secret.encode() for key_id, secret in self.secrets.items()}


def _record_fields(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[bytes | None, ...]:
    own = dict(headers)
    split = (own[SPLIT],) if SPLIT in own else ()
    return (own.get(SCHEMA), own.get(LABEL), own.get(GROUP), key, value, *split)


def _digest(secret: bytes, preamble: bytes, fields: Iterable[bytes | None]) -> bytes:
    signed = bytearray(preamble)
    for content in fields:
        if content is None:
            signed += ABSENT
        else:
            signed += len(content).to_bytes(8, "big")
            signed += content
    return hmac.digest(secret, signed, "sha256").hex().encode()
