"""A tiny function app, one function per kind of trigger; each writes what it was given into `seen`."""

import asyncio
import json
import logging
import os
import signal
import time
from http.cookies import SimpleCookie

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob_bindings
from azure.storage.blob import ContainerClient

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
log = logging.getLogger("tiny")
logging.getLogger("azure.core").setLevel(logging.WARNING)


def note(what: str, **values: object) -> None:
    """Leaves a record for the test, in the order of the calls of one kind."""
    seen = ContainerClient.from_connection_string(os.environ["MODEL_STORAGE"], "seen")
    with seen:
        seen.upload_blob(f"{what}/{time.time_ns()}", json.dumps(values))


@app.blob_trigger(
    arg_name="blob",
    path="drop/{name}",
    connection="MODEL_STORAGE",
    source=func.BlobSource.LOGS_AND_CONTAINER_SCAN,
)
def on_blob(blob: blob_bindings.BlobClient) -> None:
    content = blob.download_blob().readall()
    note("blob", name=blob.blob_name, content=content.decode())
    if content == b"fail":
        raise ValueError("told to fail")


@app.queue_trigger(arg_name="message", queue_name="%TINY_QUEUE%", connection="MODEL_STORAGE")
async def on_message(message: func.QueueMessage) -> None:
    text = message.get_body().decode()
    await asyncio.to_thread(note, "queue", text=text, tries=message.dequeue_count, pid=os.getpid())
    if text == "fail":
        raise ValueError("told to fail")
    if text == "die once" and message.dequeue_count == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@app.timer_trigger(arg_name="timer", schedule="%TINY_SCHEDULE%", use_monitor=False)
async def on_tick(timer: func.TimerRequest) -> None:
    log.info("tick", extra={"past_due": timer.past_due})
    started = time.time()
    await asyncio.sleep(1.5)
    await asyncio.to_thread(note, "timer", past_due=timer.past_due, started=started)


@app.route(route="{*path}", methods=list(func.HttpMethod))
def on_request(req: func.HttpRequest) -> func.HttpResponse:
    if req.route_params["path"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if req.route_params["path"] == "fail":
        raise ValueError("told to fail")
    answer = {
        "method": req.method,
        "url": req.url,
        "path": req.route_params["path"],
        "query": dict(req.params),
        "header": req.headers.get("x-probe"),
        "body": req.get_body().decode(),
        "pid": os.getpid(),
    }
    response = func.HttpResponse(json.dumps(answer), status_code=207, mimetype="application/json")
    for name in ("first", "second"):
        cookie = SimpleCookie({name: "1"})
        cookie[name]["path"] = "/"
        cookie[name]["httponly"] = True
        response.headers.add("Set-Cookie", cookie[name].OutputString())
    response.headers["MS-CV"] = "abc.0"
    if req.method == "HEAD":
        response.headers["Content-Length"] = "263"
    return response
