"""The function app: registers the blueprints, nothing else."""

import azure.functions as func

from shared import telemetry

telemetry.configure()

from functions import (  # noqa: E402  the loggers are quiet before a client is made
    embedded_worker,
    find_missed_models,
    http_api,
    poll_conversions,
    start_conversion,
    transfer_files,
)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
for _function in (
    start_conversion,
    poll_conversions,
    find_missed_models,
    transfer_files,
    embedded_worker,
    http_api,
):
    app.register_functions(_function.blueprint)
