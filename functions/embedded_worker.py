"""The embedded service works off one request."""

import azure.functions as func

from shared.app import app
from shared.settings import CONNECTION

blueprint = func.Blueprint()


@blueprint.function_name("embedded_worker")
@blueprint.queue_trigger(arg_name="message", queue_name=app().settings.embedded_queue, connection=CONNECTION)
async def embedded_worker(message: func.QueueMessage) -> None:
    """Converts what the message names; an exception brings the message back."""
    assert message.id is not None
    await (await app().ready()).worker.run(message.get_json()["id"], message.id)
