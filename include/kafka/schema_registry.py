"""How a Schema Registry is reached, and what its failures mean for the record that was being read."""

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
# The registry's own word, where any other server, one before it too, has a bare 404 for what it does not know.
SCHEMA_NOT_FOUND = 40403
HTTP_LIBRARIES = ("httpx", "httpx2")
# Ids that the registry does not know are not asked for again by the same reader; so many are remembered.
UNKNOWN_KEPT = 10_000


class RegistryAway(MillraceError):
    """The registry gave no answer that says anything of the schema: nothing is known of the record."""


class RegistryRefused(PermanentError):
    """The registry refuses the credentials, or its settings can't be used."""


class NoRegistry(PermanentError):
    """Records have to be read with a Schema Registry and nobody says where it is."""


@dataclass(frozen=True, repr=False)
class SchemaRegistry:
    """Where a registry is and what it is reached with.

    Args:
        settings: of confluent_kafka's client by their names there; `url` among them, and secrets.
    """

    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"SchemaRegistry({self.url!r})"

    @property
    def url(self) -> str:
        """Where it is, without credentials that somebody has put into it."""
        scheme, separator, rest = str(self.settings.get("url", "")).partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}"

    @property
    def secrets(self) -> list[str]:
        """Those of its settings that nobody may see, and the password alone of a login and password."""
        values = [str(value) for name, value in self.settings.items() if any(word in name for word in SECRET_WORDS)]
        return [*values, str(self.settings.get("basic.auth.user.info", "")).partition(":")[2]]

    def to_dict(self) -> dict[str, Any]:
        """With the secrets, for a pipe to another process and nothing else."""
        return {"settings": dict(self.settings)}

    @contextmanager
    def client(self) -> Iterator[Schemas]:
        """The registry's schemas; its connections are closed at the end.

        Raises:
            RegistryRefused: no client can be made with the settings.
        """
        from confluent_kafka.schema_registry import SchemaRegistryClient

        try:
            client = SchemaRegistryClient.new_client(dict(self.settings))
        except (ValueError, TypeError, OSError) as error:
            raise RegistryRefused(
                # What the client says may hold the URL with its password.
                f"No client can be made for the Schema Registry at {self.url} ({type(error).__name__}): correct URL "
                "and settings of its Airflow connection."
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
        host: its URL, or its host alone, which `scheme` (`http` by default) and `port` make one.
        extra: other settings of confluent_kafka's client, by their names there.

    Raises:
        RegistryRefused: it says no host.
    """
    if not host:
        raise RegistryRefused("The Airflow connection of the Schema Registry has no host: give it the registry's URL.")
    url, user_info = _taken_apart(host if "://" in host else f"{scheme or 'http'}://{host}")
    settings: dict[str, Any] = {"timeout": TIMEOUT_S, **(extra or {}), "url": f"{url}:{port}" if port else url}
    if login:
        user_info = f"{login}:{password or ''}"
    if user_info:
        settings["basic.auth.user.info"] = user_info
    return SchemaRegistry(settings)


def _taken_apart(url: str) -> tuple[str, str]:
    """A URL, or several, without credentials, for the HTTP library logs it; and the first ones, as `user:password`."""
    told: list[str] = []
    urls: list[str] = []
    for one in url.split(","):
        scheme, separator, rest = one.partition("://")
        authority, slash, path = rest.partition("/")
        credentials, _, place = authority.rpartition("@")
        urls.append(f"{scheme}{separator}{place}{slash}{path}")
        if credentials:
            user, _, password = credentials.partition(":")
            told.append(f"{unquote(user)}:{unquote(password)}")
    return ",".join(urls), next(iter(told), "")


class Schemas:
    """A registry's schemas by their ids; `client` keeps those that it has fetched."""

    def __init__(self, url: str, client: SchemaRegistryClient) -> None:
        self.url = url
        self.client = client
        self._unknown: set[int | str] = set()

    def find(self, schema_id: int | str) -> Schema | None:
        """The schema; None where the registry says that there is none of this id or GUID.

        Raises:
            RegistryAway, RegistryRefused: see `explain`.
        """
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        if schema_id in self._unknown:
            return None
        try:
            if isinstance(schema_id, str):
                return self.client.get_schema_by_guid(schema_id)
            return self.client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if error.error_code != SCHEMA_NOT_FOUND:
                raise self.explain(error, schema_id) from error
        except Exception as error:
            raise self.explain(error, schema_id) from error
        if len(self._unknown) < UNKNOWN_KEPT:
            self._unknown.add(schema_id)
        return None

    def caused(self, error: Exception) -> bool:
        """Whether it was asking the registry that failed; its client lets the HTTP library's errors through."""
        from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

        asked = isinstance(error, SchemaRegistryError | OAuthTokenError | OSError)
        return asked or type(error).__module__.partition(".")[0] in HTTP_LIBRARIES

    def explain(self, error: Exception, schema_id: int | str) -> MillraceError:
        """What failed in asking for a schema, as a sentence of ours."""
        if getattr(error, "http_status_code", None) in DENIED:
            return RegistryRefused(
                f"The Schema Registry at {self.url} refuses to give schema {schema_id} ({one_line(error)}): correct "
                "login and password of its Airflow connection, or the rights granted to them."
            )
        return RegistryAway(
            f"The Schema Registry at {self.url} gave no schema {schema_id} ({one_line(error)}): start it, or "
            "correct its Airflow connection; nothing of these records was used."
        )
