"""The Model Derivative API of the embedded service: one module for each of its nouns."""

from fastapi import APIRouter

from shared.embedded.api.model_derivative import access, catalogue, oss
from shared.embedded.api.model_derivative.access import Access
from shared.embedded.api.model_derivative.derivatives import Derivatives
from shared.embedded.api.model_derivative.designs import Designs
from shared.embedded.api.model_derivative.envelope import Envelope, owns
from shared.embedded.api.model_derivative.hooks import Hooks
from shared.embedded.api.model_derivative.jobs import Jobs
from shared.embedded.api.model_derivative.metadata import Metadata
from shared.embedded.api.model_derivative.objects import Objects
from shared.embedded.api.model_derivative.refusals import body_of
from shared.embedded.api.model_derivative.webhooks import Webhooks
from shared.embedded.requests import Location, Requests
from shared.embedded.seals import Seals
from shared.embedded.tokens import Tokens
from shared.outbound import Outbound
from shared.sas import Signer
from shared.settings import Settings
from shared.storage import Storage

__all__ = ["Envelope", "body_of", "identifier", "owns", "router", "watcher"]

_SERVICE = "model-conversion-functions"
_VERSION = "0.1.0"


def identifier(settings: Settings) -> str:
    """The service's name, version and environment, as its replies tell them."""
    return f"{_SERVICE}-{_VERSION}-{'local' if settings.local else 'production'}"


def watcher(settings: Settings, storage: Storage, requests: Requests, outbound: Outbound) -> Hooks:
    """Tells the API's webhooks what the worker does."""
    designs = Designs(storage, settings, requests)
    return Hooks(storage, settings, designs, outbound, settings.embedded_account_id)


def router(settings: Settings, storage: Storage, requests: Requests, outbound: Outbound) -> APIRouter:
    """Every route of the API."""
    client_id = settings.embedded_account_id
    tokens = Tokens(settings, requests.now)
    admits = Access(tokens)
    container = settings.embedded_container
    place = Location(account=storage.account, container=container, linked=True)
    objects = Objects(storage, settings, Signer(storage))
    designs = Designs(storage, settings, requests)
    seals = Seals(settings.embedded_account_key, "downloads")
    derivatives = Derivatives(designs, objects, admits, storage, container, seals, settings.own_url)
    routes = APIRouter()
    routes.include_router(access.router(admits, tokens))
    routes.include_router(oss.router(objects, admits, client_id))
    routes.include_router(catalogue.router(admits))
    routes.include_router(Jobs(designs, objects, admits, place).routes())
    routes.include_router(derivatives.routes())
    hooks = Hooks(storage, settings, designs, outbound, client_id)
    routes.include_router(Webhooks(hooks, admits, outbound, client_id, requests.now).routes())
    routes.include_router(Metadata(designs, admits, storage, container).routes())
    return routes
