"""Connection to a Schema Registry, and errors for its failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from include.errors import MillraceError, PermanentError, one_line

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

SECRET_WORDS = ("password", "secret", "token", "user.info")
TIMEOUT_S = 30
DENIED = (401, 403)
# The registry's own code. Any other server, such as a proxy in front of it, would answer a plain 404.
SCHEMA_NOT_FOUND = 40403
HTTP_LIBRARIES = ("httpx", "httpx2")
# A reader requests an id that the registry does not have only once; it remembers this many.
UNKNOWN_KEPT = 10_000


class RegistryAway(MillraceError):
    """The registry could not be asked for the schema, so that the record can neither be read nor refused."""


class RegistryRefused(PermanentError):
    """The registry refuses the credentials, or its settings are invalid."""


class NoRegistry(PermanentError):
    """Records need a Schema Registry and the connection has none."""


@dataclass(frozen=True, repr=False)
class SchemaRegistry:
    """The settings of a registry's client.

    Args:
        settings: by the names of confluent_kafka's client, with `url` and secrets.
    """

    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"SchemaRegistry({self.url!r})"

    @property
    def url(self) -> str:
        """The URL without the credentials that it may contain."""
        scheme, separator, rest = str(self.settings.get("url", "")).partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}"

    @property
    def secrets(self) -> list[str]:
        """The secret settings, and the password of a login and password."""
        values = [str(value) for name, value in self.settings.items() if any(word in name for word in SECRET_WORDS)]
        return [*values, str(self.settings.get("basic.auth.user.info", "")).partition(":")[2]]

    @contextmanager
    def client(self) -> Iterator[Schemas]:
        """The registry's schemas; its connections are closed at the end.

        Raises:
            RegistryRefused: the client refuses the settings.
        """
        from confluent_kafka.schema_registry import SchemaRegistryClient

        try:
            client = SchemaRegistryClient.new_client(dict(self.settings))
        except (ValueError, TypeError, OSError) as error:
            raise RegistryRefused(
                # The client's text may contain the URL with its password.
                f"The client refuses the settings of the Schema Registry at {self.url} ({type(error).__name__}): "
                "correct URL and settings of its Airflow connection."
            ) from error
        with client:
            yield Schemas(self.url, client)


def registry_at(
    host: str | None,
    *,
    scheme: str | None = None,
    port: int | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> SchemaRegistry:
    """The registry that an Airflow connection describes.

    Args:
        host: the URL, or only the host, to be completed by `scheme` (`http` by default) and `port`.
        extra: other settings, by the names of confluent_kafka's client.

    Raises:
        RegistryRefused: there is no host.
    """
    if not host:
        raise RegistryRefused("The Airflow connection of the Schema Registry has no host: give it the registry's URL.")
    url, user_info = _without_credentials(host if "://" in host else f"{scheme or 'http'}://{host}")
    settings: dict[str, Any] = {"timeout": TIMEOUT_S, **(extra or {}), "url": f"{url}:{port}" if port else url}
    if login:
        user_info = f"{login}:{password or ''}"
    if user_info:
        settings["basic.auth.user.info"] = user_info
    return SchemaRegistry(settings)


def _without_credentials(url: str) -> tuple[str, str]:
    """A URL, or several, without credentials, because the HTTP library logs it; and the first `user:password`."""
    user_infos: list[str] = []
    urls: list[str] = []
    for one in url.split(","):
        scheme, separator, rest = one.partition("://")
        authority, slash, path = rest.partition("/")
        credentials, _, host = authority.rpartition("@")
        urls.append(f"{scheme}{separator}{host}{slash}{path}")
        if credentials:
            user, _, password = credentials.partition(":")
            user_infos.append(f"{unquote(user)}:{unquote(password)}")
    return ",".join(urls), next(iter(user_infos), "")


class Schemas:
    """A registry's schemas by their ids; `client` caches the fetched ones."""

    def __init__(self, url: str, client: SchemaRegistryClient) -> None:
        self.url = url
        self.client = client
        self._unknown: set[int | str] = set()

    def find(self, schema_id: int | str, *, serialized: bool = False) -> Schema | None:
        """The schema; None where the registry has no schema with this id or GUID.

        Args:
            serialized: whether a schema of Protobuf is its descriptor in base64, and not its text.

        Raises:
            RegistryAway, RegistryRefused: see `explain`.
        """
        if schema_id in self._unknown:
            return None
        fmt = "serialized" if serialized else None
        try:
            if isinstance(schema_id, str):
                return self.client.get_schema_by_guid(schema_id, fmt)
            return self.client.get_schema(schema_id, fmt=fmt)
        except Exception as error:
            if getattr(error, "error_code", None) != SCHEMA_NOT_FOUND:
                raise self.explain(error, schema_id) from error
        if len(self._unknown) < UNKNOWN_KEPT:
            self._unknown.add(schema_id)
        return None

    def caused(self, error: Exception) -> bool:
        """Whether a request to the registry failed; its client also raises errors of the HTTP library."""
        from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

        failed = isinstance(error, SchemaRegistryError | OAuthTokenError | OSError)
        return failed or type(error).__module__.partition(".")[0] in HTTP_LIBRARIES

    def explain(self, error: Exception, schema_id: int | str) -> MillraceError:
        """Turn an error of a request for a schema into a Millrace error."""
        if getattr(error, "http_status_code", None) in DENIED:
            return RegistryRefused(
                f"The Schema Registry at {self.url} refuses access to schema {schema_id} ({one_line(error)}): correct "
                "login and password of its Airflow connection, or the rights granted to them."
            )
        return RegistryAway(
            f"The Schema Registry at {self.url} did not return schema {schema_id} ({one_line(error)}): start it, or "
            "correct its Airflow connection; none of these records was used."
        )
