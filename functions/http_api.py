"""One ASGI app behind one route: the embedded service's APIs, callbacks, status, health."""

import azure.functions as func

from shared.app import app

blueprint = func.Blueprint()
_asgi = func.AsgiMiddleware(app().asgi)


@blueprint.function_name("http_api")
@blueprint.route(
    route="{*path}",
    auth_level=func.AuthLevel.ANONYMOUS,
    methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
)
async def http_api(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Every path. The APIs' own clients bring the APIs' own tokens, never a function key."""
    await app().ready()
    response: func.HttpResponse = await _asgi.handle_async(req, context)
    return response
