"""The sweep: find models whose event was lost, and tidy up."""

import azure.functions as func

from shared.app import app

blueprint = func.Blueprint()


@blueprint.function_name("find_missed_models")
@blueprint.timer_trigger(
    arg_name="timer", schedule=app().settings.sweep_schedule, run_on_startup=False, use_monitor=True
)
async def find_missed_models(timer: func.TimerRequest) -> None:
    """One sweep; it does not matter whether it is late."""
    ready = await app().ready()
    await ready.sweep.run()
    await ready.tidy()
