"""A model, or its sidecar, has landed."""

import azure.functions as func
from azurefunctions.extensions.bindings.blob import BlobClient

from shared.app import app
from shared.settings import CONNECTION

blueprint = func.Blueprint()
settings = app().settings


@blueprint.function_name("start_conversion")
@blueprint.blob_trigger(
    arg_name="blob",
    path=f"{settings.models_container}/{{name}}",
    connection=CONNECTION,
    source=func.BlobSource.EVENT_GRID
    if settings.blob_trigger_source == "EventGrid"
    else func.BlobSource.LOGS_AND_CONTAINER_SCAN,
)
async def start_conversion(blob: BlobClient) -> None:
    """Considers the blob; the content never comes this way."""
    await (await app().ready()).lifecycle.consider(blob.blob_name)
