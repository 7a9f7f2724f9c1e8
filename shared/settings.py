"""The app settings, read once and checked at start.

Every field is an app setting of the same name in upper case. A missing or contradictory one stops
the app with a single message that names it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CONNECTION = "MODEL_STORAGE"
"""The connection name of every binding, and the prefix of the settings that fill it in."""

SERVICES = ("remote-rendering", "model-derivative", "api2convert")

_SHORTEST_TOKEN = 16

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class SettingsError(Exception):
    """An app setting is missing, or contradicts another; the message names it."""


class Settings(BaseSettings):
    """The app's settings; see the README for what each one does."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Storage: a connection string, or the endpoints with an identity.
    model_storage: str | None = Field(None, repr=False)
    blob_service_uri: str | None = Field(None, validation_alias="MODEL_STORAGE__blobServiceUri")
    queue_service_uri: str | None = Field(None, validation_alias="MODEL_STORAGE__queueServiceUri")
    identity: Literal["managedidentity"] | None = Field(None, validation_alias="MODEL_STORAGE__credential")
    identity_client_id: str | None = Field(None, validation_alias="MODEL_STORAGE__clientId")

    models_container: str = "models"
    converted_container: str = "converted"
    in_flight_container: str = "in-flight"
    embedded_container: str = "embedded"
    transfer_queue: str = "transfer-files"
    embedded_queue: str = "embedded-requests"

    # Triggers.
    blob_trigger_source: Literal["EventGrid", "LogsAndContainerScan"] = "EventGrid"
    poll_schedule: str = "*/30 * * * * *"
    sweep_schedule: str = "0 */15 * * * *"

    # Conversions.
    default_service: Literal["remote-rendering", "model-derivative", "api2convert"] = "remote-rendering"
    default_formats: str | None = None
    convert_since: datetime | None = None
    max_in_flight: int = Field(0, ge=0)
    grace_seconds: float = Field(300, ge=0)
    deadline_seconds: float = Field(6 * 3600, gt=0, le=6 * 24 * 3600)
    claim_seconds: float = Field(120, gt=0)
    poll_floor_seconds: float = Field(5, gt=0)
    poll_ceiling_seconds: float = Field(300, gt=0)
    reference_read_bytes: int = Field(1024 * 1024, ge=64 * 1024, le=1024 * 1024)

    # The Remote Rendering API that the pipeline calls: by default the bundle's own.
    remote_rendering_endpoint: str | None = None
    remote_rendering_account_id: str | None = None
    remote_rendering_account_key: str | None = Field(None, repr=False)
    remote_rendering_account_domain: str | None = None
    remote_rendering_token: str | None = Field(None, repr=False)

    # The Model Derivative API: Autodesk's with an application's id, else the bundle's own if it serves one.
    model_derivative_url: str = "https://developer.api.autodesk.com"
    model_derivative_client_id: str | None = None
    model_derivative_client_secret: str | None = Field(None, repr=False)
    model_derivative_region: Literal["US", "EMEA", "AUS", "CAN", "DEU", "IND", "JPN", "GBR"] = "US"
    model_derivative_bucket: str | None = Field(None, pattern=r"^[-_.a-z0-9]{3,128}$")
    model_derivative_emea_path: bool = False
    model_derivative_delete_uploads: bool = True
    model_derivative_webhook_token: str | None = Field(None, repr=False)

    # The API2Convert API: the vendor's with a key of theirs, else the bundle's own where it serves one.
    api2convert_url: str = "https://api.api2convert.com/v2"
    api2convert_api_key: str | None = Field(None, repr=False)
    api2convert_upload: bool = False

    # The embedded service.
    embedded_apis: str = "remote-rendering"
    embedded_account_id: str
    embedded_account_key: str = Field(min_length=16, repr=False)
    embedded_linked_containers: str = ""
    embedded_blob_url: str = "https://{account}.blob.core.windows.net"
    embedded_upload_mb: int = Field(50, ge=1, le=100)
    callback_hosts: str = ""
    engine_memory_mb: int = Field(3000, ge=256)
    engine_cpu_seconds: int = Field(1500, ge=1)
    engine_wall_seconds: int = Field(1500, ge=1)
    engine_output_mb: int = Field(2000, ge=1)
    engine_input_mb: int = Field(500, ge=1)

    # Where the app runs; both are set by the platform, or by the local host.
    website_hostname: str | None = None
    local: bool = False

    @model_validator(mode="before")
    @classmethod
    def _are_resolved(cls, values: Any) -> Any:
        # A reference that the platform cannot resolve arrives as its own text: a key that anybody knows.
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, str) and value.startswith("@Microsoft.KeyVault("):
                raise ValueError(
                    f"{name.upper()}: its Key Vault reference was not resolved. Check the secret, and that "
                    "the app's identity may read it (Key Vault Secrets User)"
                )
        return values

    @field_validator("embedded_account_id", "remote_rendering_account_id")
    @classmethod
    def _is_uuid(cls, value: str | None) -> str | None:
        if value is not None and not _UUID.fullmatch(value):
            raise ValueError("must be a UUID, as Remote Rendering account ids are")
        return value

    @field_validator("convert_since")
    @classmethod
    def _has_offset(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("must carry an offset, such as 2026-01-31T00:00:00Z")
        return value

    @field_validator("default_formats")
    @classmethod
    def _is_format_list(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                formats = json.loads(value)
            except json.JSONDecodeError:
                formats = None
            if not isinstance(formats, list) or not formats:
                raise ValueError('must be a JSON list such as [{"type": "glb"}]')
        return value

    @field_validator("embedded_apis")
    @classmethod
    def _are_services(cls, value: str) -> str:
        for name in _names(value):
            if name not in SERVICES:
                raise ValueError(f"{name!r} is none of {', '.join(SERVICES)}")
        return value

    @field_validator("model_derivative_webhook_token")
    @classmethod
    def _are_long(cls, value: str | None) -> str | None:
        if any(len(token) < _SHORTEST_TOKEN for token in _names(value or "")):
            raise ValueError(f"a token has at least {_SHORTEST_TOKEN} characters")
        return value

    @field_validator("embedded_blob_url")
    @classmethod
    def _has_account(cls, value: str) -> str:
        if "{account}" not in value:
            raise ValueError("must contain {account}, the place of the storage account's name")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.model_storage is None and (self.blob_service_uri is None or self.queue_service_uri is None):
            raise ValueError(
                f"{CONNECTION}: set it to a connection string, or set both {CONNECTION}__blobServiceUri "
                f"and {CONNECTION}__queueServiceUri to use an identity"
            )
        if self.model_storage is not None and self.blob_service_uri is not None:
            raise ValueError(f"{CONNECTION} and {CONNECTION}__blobServiceUri: set one of them, not both")
        if self.poll_floor_seconds > self.poll_ceiling_seconds:
            raise ValueError("POLL_FLOOR_SECONDS is above POLL_CEILING_SECONDS")
        containers = {
            "MODELS_CONTAINER": self.models_container,
            "CONVERTED_CONTAINER": self.converted_container,
            "IN_FLIGHT_CONTAINER": self.in_flight_container,
            "EMBEDDED_CONTAINER": self.embedded_container,
        }
        if len(set(containers.values())) < len(containers):
            raise ValueError(f"{', '.join(containers)}: name four different containers")
        for pair in self.linked_containers:
            if pair[1] in (self.in_flight_container, self.embedded_container):
                raise ValueError(f"EMBEDDED_LINKED_CONTAINERS: {pair[1]} is the bundle's own state")
        if self.remote_rendering_endpoint is None and self.website_hostname is None:
            raise ValueError(
                "REMOTE_RENDERING_ENDPOINT: set it to a region or URL "
                "(WEBSITE_HOSTNAME, which gives the bundle's own address, is not set either)"
            )
        if "api2convert" in self.serves and self.website_hostname is None:
            raise ValueError(
                "EMBEDDED_APIS: api2convert gives out addresses of its own, and WEBSITE_HOSTNAME, which says "
                "what they begin with, is not set"
            )
        if (self.model_derivative_client_id is None) != (self.model_derivative_client_secret is None):
            raise ValueError(
                "MODEL_DERIVATIVE_CLIENT_ID and MODEL_DERIVATIVE_CLIENT_SECRET: set both or none"
            )
        if self.remote_rendering_endpoint is not None and self.remote_rendering_account_id is None:
            raise ValueError("REMOTE_RENDERING_ACCOUNT_ID: needed with REMOTE_RENDERING_ENDPOINT")
        return self

    @cached_property
    def linked_containers(self) -> frozenset[tuple[str, str]]:
        """The (account, container) pairs that the embedded service may use without a SAS."""
        pairs = set()
        for name in _names(self.embedded_linked_containers):
            account, slash, container = name.partition("/")
            if not slash or not account or not container:
                raise ValueError(f"EMBEDDED_LINKED_CONTAINERS: {name!r} is not account/container")
            pairs.add((account, container))
        return frozenset(pairs)

    def default_formats_of(
        self, built_in: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Each service's formats where no sidecar says: ``built_in``, but for the default service."""
        if self.default_formats is None:
            return built_in
        return {**built_in, self.default_service: json.loads(self.default_formats)}

    @property
    def webhook_tokens(self) -> tuple[str, ...]:
        """What Model Derivative's webhook is signed with, the newest first."""
        return tuple(_names(self.model_derivative_webhook_token or ""))

    @property
    def own_url(self) -> str | None:
        """The app's own address, without a trailing slash; None where nothing tells it."""
        if self.website_hostname is None:
            return None
        return f"{'http' if self.local else 'https'}://{self.website_hostname}"

    @property
    def serves(self) -> frozenset[str]:
        """The APIs that the embedded service answers."""
        return frozenset(_names(self.embedded_apis))

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Hosts that may be called, or fetched from, although their address is not public."""
        return frozenset(_names(self.callback_hosts))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def read_settings(**overrides: Any) -> Settings:
    """The settings in the environment.

    Raises:
        SettingsError: one message that names every setting that is missing or wrong.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = []
        for fault in error.errors(include_input=False, include_url=False):
            name = str(fault["loc"][0]) if fault["loc"] else ""
            name = name if name.startswith(CONNECTION) else name.upper()
            text = "is not set" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
            faults.append(f"{name}: {text}" if name else text)
        # The cause would quote the values, and some of them are keys.
        raise SettingsError("App settings: " + "; ".join(faults)) from None
