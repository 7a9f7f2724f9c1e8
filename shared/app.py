"""Puts the parts together: one set of them per process, made when the first function needs it."""

import asyncio
import os
from collections.abc import Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import httpx

from shared import formats
from shared.callbacks import Callbacks
from shared.clients import ConversionService
from shared.clients.api2convert import Api2Convert
from shared.clients.model_derivative import ModelDerivative
from shared.clients.model_derivative_webhook import PATH, Webhook
from shared.clients.remote_rendering import RemoteRendering
from shared.conversion import ServiceName
from shared.in_flight import InFlight
from shared.intake import Intake
from shared.lifecycle import Lifecycle
from shared.manifest import Manifests
from shared.overview import Overview
from shared.sas import Signer
from shared.settings import Settings, read_settings
from shared.storage import Storage
from shared.sweep import Sweep
from shared.telemetry import event
from shared.tick import Tick
from shared.tools import Pace, Tools

if TYPE_CHECKING:
    from fastapi import FastAPI

    from shared.embedded.containers import Containers
    from shared.embedded.converter import Converter
    from shared.embedded.requests import Requests
    from shared.embedded.worker import Watches, Worker
    from shared.outbound import Outbound


class App:
    """The bundle's parts, made from the settings. Nothing is sent before a part is used."""

    def __init__(
        self, settings: Settings, *, http: httpx.AsyncBaseTransport | None = None, **client_options: Any
    ) -> None:
        """``http`` carries the calls to services and of callbacks; ``client_options`` go to every storage
        client, as in :meth:`Storage.connect`."""
        self.settings = settings
        self._http = http
        self._client_options = client_options
        self._ready: asyncio.Task[None] | None = None

    @cached_property
    def storage(self) -> Storage:
        """The storage account."""
        return Storage.connect(self.settings, **self._client_options)

    async def ready(self) -> "App":
        """The app, with its containers and queues; in Azure the template has made them."""
        if self.settings.local:
            if self._ready is None:
                names = self.settings
                self._ready = asyncio.create_task(
                    self.storage.ensure(
                        (
                            names.models_container,
                            names.converted_container,
                            names.in_flight_container,
                            names.embedded_container,
                        ),
                        (names.transfer_queue, names.embedded_queue),
                    )
                )
            ready = self._ready
            try:
                await ready
            except BaseException:
                # Storage may be there for the next who asks.
                if self._ready is ready:
                    self._ready = None
                raise
        return self

    async def close(self) -> None:
        """Closes every connection, and ends the engine's process."""
        for service in self.services.values():
            await service.close()
        if "worker" in self.__dict__:
            await self._converter.close()
        await self.storage.close()

    @cached_property
    def signer(self) -> Signer:
        """Signs SAS tokens."""
        return Signer(self.storage)

    @cached_property
    def services(self) -> Mapping[ServiceName, ConversionService]:
        """The conversion services that are set up."""
        services: dict[ServiceName, ConversionService] = {
            formats.REMOTE_RENDERING: _remote_rendering(self.settings, self.storage, self._http)
        }
        model_derivative = _model_derivative(self.settings, self.webhook, self._http)
        if model_derivative is not None:
            services[formats.MODEL_DERIVATIVE] = model_derivative
        if (api2convert := _api2convert(self.settings, self._http)) is not None:
            services[formats.API2CONVERT] = api2convert
        return services

    @cached_property
    def webhook(self) -> Webhook | None:
        """Model Derivative's webhook; None where it is not wanted, or this app has no address."""
        tokens = self.settings.webhook_tokens
        if not tokens or self.settings.own_url is None:
            return None
        return Webhook(f"{self.settings.own_url}{PATH}", tokens)

    @cached_property
    def callbacks(self) -> Callbacks:
        """Makes and checks the addresses that services may call."""
        return Callbacks(self.settings.own_url, self.settings.embedded_account_key)

    @cached_property
    def tools(self) -> Tools:
        """What the steps of a conversion work with."""
        settings = self.settings
        return Tools(
            storage=self.storage,
            models=settings.models_container,
            converted=settings.converted_container,
            in_flight=InFlight(self.storage, settings.in_flight_container),
            manifests=Manifests(self.storage, settings.converted_container),
            intake=Intake(
                self.storage,
                settings.models_container,
                self.services,
                default_service=settings.default_service,
                default_formats=settings.default_formats_of(formats.DEFAULT_FORMATS),
                read_bytes=settings.reference_read_bytes,
            ),
            signer=self.signer,
            callbacks=self.callbacks,
            services=self.services,
            pace=Pace.of(settings),
            max_in_flight=settings.max_in_flight,
            transfer_queue=settings.transfer_queue,
            staging=settings.in_flight_container,
        )

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The state machine."""
        return Lifecycle(self.tools)

    @cached_property
    def tick(self) -> Tick:
        """The polling timer's work."""
        return Tick(self.tools, self.settings.in_flight_container, self.lifecycle)

    @cached_property
    def sweep(self) -> Sweep:
        """The slower timer's work."""
        return Sweep(self.settings, self.tools, self.lifecycle)

    @cached_property
    def overview(self) -> Overview:
        """Lists conversions."""
        return Overview(self.storage, self.settings.converted_container, self.tools.in_flight)

    @cached_property
    def worker(self) -> "Worker":
        """The embedded service's worker, with its converter process."""
        from shared.embedded.api.api2convert import service as api2convert
        from shared.embedded.worker import Worker

        runners = {}
        if formats.API2CONVERT in self.settings.serves:
            runners[formats.API2CONVERT] = api2convert.runner(
                self.settings, self.storage, self.requests, self._outbound, self._converter
            )
        return Worker(
            self.settings,
            self.requests,
            self._containers,
            self._converter,
            self._outbound,
            runners=runners,
            watcher=self._watcher,
        )

    @cached_property
    def _watcher(self) -> "Watches | None":
        from shared.embedded.api import model_derivative

        if formats.MODEL_DERIVATIVE not in self.settings.serves:
            return None
        return model_derivative.watcher(self.settings, self.storage, self.requests, self._outbound)

    @cached_property
    def asgi(self) -> "FastAPI":
        """Everything that is served over HTTP."""
        from shared.embedded.api.app import build_api
        from shared.http import router

        api = build_api(self.settings, self.storage, self.requests, self._containers, self._outbound)
        api.include_router(router(self))
        return api

    async def tidy(self) -> None:
        """Deletes what the embedded service has kept long enough."""
        if formats.API2CONVERT in self.settings.serves:
            from shared.embedded.api.api2convert import service as api2convert

            if count := await api2convert.tidy(self.settings, self.storage, self.requests):
                event("service.tidied", service=formats.API2CONVERT, jobs=count)

    @cached_property
    def _converter(self) -> "Converter":
        from shared.embedded.converter import Converter

        return Converter()

    @cached_property
    def requests(self) -> "Requests":
        """The embedded service's requests."""
        from shared.embedded.requests import Requests

        return Requests(self.storage, self.settings)

    @cached_property
    def _containers(self) -> "Containers":
        from shared.embedded.containers import Containers

        return Containers(self.settings, self.storage, **self._client_options)

    @cached_property
    def _outbound(self) -> "Outbound":
        from shared.outbound import Outbound

        return Outbound(self.settings, transport=self._http)


def _remote_rendering(
    settings: Settings, storage: Storage, http: httpx.AsyncBaseTransport | None
) -> RemoteRendering:
    """The service that REMOTE_RENDERING_ENDPOINT names, or else the bundle's own."""
    if settings.remote_rendering_endpoint is None:
        assert settings.own_url is not None
        return RemoteRendering(
            settings.own_url,
            settings.embedded_account_id,
            account_key=settings.embedded_account_key,
            transport=http,
        )
    assert settings.remote_rendering_account_id is not None
    has_secret = settings.remote_rendering_account_key or settings.remote_rendering_token
    return RemoteRendering(
        settings.remote_rendering_endpoint,
        settings.remote_rendering_account_id,
        account_key=settings.remote_rendering_account_key,
        token=settings.remote_rendering_token,
        credential=None if has_secret else storage.credential,
        account_domain=settings.remote_rendering_account_domain,
        transport=http,
    )


def _model_derivative(
    settings: Settings, webhook: Webhook | None, http: httpx.AsyncBaseTransport | None
) -> ModelDerivative | None:
    """The service at MODEL_DERIVATIVE_URL with an application's id, or else the bundle's own, if it is on."""
    url, client_id, secret = (
        settings.model_derivative_url,
        settings.model_derivative_client_id,
        settings.model_derivative_client_secret,
    )
    is_embedded = client_id is None
    if client_id is None or secret is None:
        if formats.MODEL_DERIVATIVE not in settings.serves or settings.own_url is None:
            return None
        url, client_id, secret = (
            settings.own_url,
            settings.embedded_account_id,
            settings.embedded_account_key,
        )
    return ModelDerivative(
        url,
        client_id,
        secret,
        region=settings.model_derivative_region,
        bucket=settings.model_derivative_bucket,
        is_embedded=is_embedded,
        emea_path=settings.model_derivative_emea_path,
        delete_uploads=settings.model_derivative_delete_uploads,
        webhook=webhook,
        transport=http,
    )


def _api2convert(settings: Settings, http: httpx.AsyncBaseTransport | None) -> Api2Convert | None:
    """The service that API2CONVERT_API_KEY opens, or the bundle's own, if it answers this API."""
    if settings.api2convert_api_key is not None:
        return Api2Convert(
            settings.api2convert_url,
            settings.api2convert_api_key,
            upload=settings.api2convert_upload,
            password=os.environ.get,
            transport=http,
        )
    if formats.API2CONVERT not in settings.serves or settings.own_url is None:
        return None
    return Api2Convert(
        f"{settings.own_url}/v2",
        settings.embedded_account_key,
        is_own=True,
        upload=settings.api2convert_upload,
        password=os.environ.get,
        transport=http,
    )


@cache
def app() -> App:
    """This process's app."""
    return App(read_settings())
