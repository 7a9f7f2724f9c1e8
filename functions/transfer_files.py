"""Long copies, inputs to a service and outputs from it; and what a callback made due."""

import azure.functions as func

from shared.app import app
from shared.settings import CONNECTION

blueprint = func.Blueprint()


@blueprint.function_name("transfer_files")
@blueprint.queue_trigger(arg_name="message", queue_name=app().settings.transfer_queue, connection=CONNECTION)
async def transfer_files(message: func.QueueMessage) -> None:
    """Advances the conversion that the message names."""
    await (await app().ready()).lifecycle.advance(message.get_json()["record"], transfers=True)
