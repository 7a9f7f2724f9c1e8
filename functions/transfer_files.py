"""Long copies, inputs to a service and outputs from it; and what a callback told of."""

import azure.functions as func

from shared.app import app
from shared.settings import CONNECTION

blueprint = func.Blueprint()


@blueprint.function_name("transfer_files")
@blueprint.queue_trigger(arg_name="message", queue_name=app().settings.transfer_queue, connection=CONNECTION)
async def transfer_files(message: func.QueueMessage) -> None:
    """Advances the conversion that the message names."""
    told = message.get_json()
    lifecycle = (await app().ready()).lifecycle
    await lifecycle.advance(told["record"], transfers=True, moved=told.get("moved"))
