"""The tick: advance what is due."""

import azure.functions as func

from shared.app import app

blueprint = func.Blueprint()


@blueprint.function_name("poll_conversions")
@blueprint.timer_trigger(
    arg_name="timer", schedule=app().settings.poll_schedule, run_on_startup=False, use_monitor=False
)
async def poll_conversions(timer: func.TimerRequest) -> None:
    """One tick; it does not matter whether it is late."""
    await (await app().ready()).tick.run()
