"""Remote Rendering's words, translated to the service's and back. Both dialects, v1 and 2021-01-01."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared import paths
from shared.embedded.api.bodies import Body
from shared.embedded.containers import Containers
from shared.embedded.engine.formats import check_output, file_name
from shared.embedded.engine.job import Output
from shared.embedded.reports import info_name, result_name, short, stem
from shared.embedded.requests import Location, Record, Request, State
from shared.formats import READS, REMOTE_RENDERING, extension
from shared.outbound import Outbound
from shared.problems import Code, Problem

_ASSET = ".arrAsset"
_MOST_FORMATS = 50

_V1_STATUS = {
    State.CREATED: "Created",
    State.RUNNING: "Running",
    State.SUCCEEDED: "Success",
    State.FAILED: "Failure",
}
_STATUS = {
    State.CREATED: "NotStarted",
    State.RUNNING: "Running",
    State.SUCCEEDED: "Succeeded",
    State.FAILED: "Failed",
}


class Translator:
    """Makes requests of bodies. Every method raises Problem for a body that cannot be right, and
    NotLinked for a container that needs a SAS and has none."""

    def __init__(self, containers: Containers, outbound: Outbound) -> None:
        self._containers = containers
        self._outbound = outbound

    def v1(self, body: Body, conversion_id: str, *, linked: bool) -> Request:
        """The request of a v1 body; ``linked`` for the endpoint that takes no SAS."""
        given, wanted = body.section("input"), body.section("output")
        source = Location(
            account=given.required("storageAccountname"),
            container=given.required("blobContainerName"),
            prefix=_folder(given.text("folderPath")),
            linked=linked,
            sas=None if linked else _sas(given, "containerReadListSas"),
        )
        target = Location(
            account=wanted.required("storageAccountname"),
            container=wanted.required("blobContainerName"),
            prefix=_folder(wanted.text("folderPath")),
            linked=linked,
            sas=None if linked else _sas(wanted, "containerWriteSas"),
        )
        model = given.required("inputAssetPath")
        return self._request(body, conversion_id, source, model, target, wanted, "outputAssetFileName")

    def v2021(self, body: Body, conversion_id: str) -> Request:
        """The request of a 2021-01-01 body; a location without a SAS is linked storage."""
        settings = body.section("settings")
        given, wanted = settings.section("inputLocation"), settings.section("outputLocation")
        source = self._located(given, "storageContainerReadListSas")
        target = self._located(wanted, "storageContainerWriteSas")
        model = given.required("relativeInputAssetPath")
        return self._request(body, conversion_id, source, model, target, wanted, "outputAssetFilename")

    def _located(self, body: Body, sas: str) -> Location:
        account, container = self._containers.locate(body.required("storageContainerUri"))
        has_sas = bool(body.text(sas))
        return Location(
            account=account,
            container=container,
            prefix=_folder(body.text("blobPrefix")),
            linked=not has_sas,
            sas=_sas(body, sas) if has_sas else None,
        )

    def _request(
        self,
        body: Body,
        conversion_id: str,
        source: Location,
        model: str,
        target: Location,
        wanted: Body,
        asset_key: str,
    ) -> Request:
        for location in (source, target):
            self._containers.check(location)
        paths.check(source.prefix + model)
        reads = READS[REMOTE_RENDERING]
        if extension(model) not in reads:
            raise Problem(
                Code.UNSUPPORTED_FORMAT,
                f"The extension of {model!r} is none of those this service reads: "
                f"{', '.join(sorted(reads))}.",
            )
        asset = wanted.text(asset_key)
        if asset and (not asset.endswith(_ASSET) or asset == _ASSET or "/" in asset or "\\" in asset):
            raise Problem(
                Code.INVALID_SETTINGS, f"{wanted.named(asset_key)} must be a file name that ends in {_ASSET}."
            )
        outputs = _outputs(body.value("formats"), short(asset.removesuffix(_ASSET)) or stem(model))
        for name in (*(output.name for output in outputs), result_name(model), info_name(model)):
            paths.check(target.prefix + name)
        callback = body.text("callback") or None
        if callback is not None:
            self._outbound.check(callback)
        root = body.text("rootFilename") or None
        if root is not None:
            paths.check(root)
        return Request(
            api=REMOTE_RENDERING,
            id=conversion_id,
            source=source,
            model=model,
            root=root,
            target=target,
            outputs=outputs,
            callback=callback,
        )

    def conversion(self, record: Record) -> dict[str, Any]:
        """The 2021-01-01 conversion object; no SAS is ever echoed."""
        request = record.request
        reply: dict[str, Any] = {
            "id": request.id,
            "creationTime": _date(record.created),
            "settings": {
                "inputLocation": {
                    "storageContainerUri": self._containers.url(request.source),
                    "blobPrefix": request.source.prefix,
                    "relativeInputAssetPath": request.model,
                },
                "outputLocation": {
                    "storageContainerUri": self._containers.url(request.target),
                    "blobPrefix": request.target.prefix,
                    "outputAssetFilename": request.outputs[0].name,
                },
            },
            "error": None,
            "status": _STATUS[record.state],
        }
        if record.error is not None:
            reply["error"] = {
                "code": "ConversionProcessFailed",
                "message": record.error.message,
                "details": [{"code": record.error.code, "message": record.error.message}],
            }
        if record.state is State.SUCCEEDED:
            path = request.target.prefix + request.outputs[0].name
            reply["output"] = {"outputAssetUri": f"{self._containers.url(request.target)}/{path}"}
        return reply


def v1_conversion(record: Record) -> dict[str, Any]:
    """The v1 poll's reply, with what Microsoft's script reads of a success, and with ``result``."""
    request = record.request
    reply: dict[str, Any] = {"status": _V1_STATUS[record.state]}
    if record.state is State.SUCCEEDED:
        reply["convertedAsset"] = {
            "storageAccountName": request.target.account,
            "blobContainerName": request.target.container,
            "assetFilePath": request.target.prefix + request.outputs[0].name,
        }
    if record.error is not None:
        reply["error"] = {"code": record.error.code, "message": record.error.message}
    if record.result is not None:
        reply["result"] = record.result
    return reply


def _outputs(formats: object, name: str) -> tuple[Output, ...]:
    if formats is None:
        return (Output("glb", name + _ASSET),)
    if not isinstance(formats, list) or not 0 < len(formats) <= _MOST_FORMATS:
        raise Problem(
            Code.INVALID_SETTINGS, f"formats must be a list of 1 to {_MOST_FORMATS} objects with a type."
        )
    outputs = [_output(wanted, index, name) for index, wanted in enumerate(formats)]
    _check_distinct(outputs)
    return tuple(outputs)


def _output(wanted: object, index: int, name: str) -> Output:
    path = f"formats[{index}]"
    if not isinstance(wanted, dict) or not isinstance(wanted.get("type"), str):
        raise Problem(Code.INVALID_SETTINGS, f"{path} must be an object with a type.")
    if unknown := sorted(set(wanted) - {"type", "advanced"}):
        raise Problem(Code.INVALID_SETTINGS, f"{path}.{unknown[0]} is unknown; it has type and advanced.")
    advanced = wanted.get("advanced") or {}
    if not isinstance(advanced, dict):
        raise Problem(Code.INVALID_SETTINGS, f"{path}.advanced is not an object.")
    check_output(wanted["type"], advanced)
    return Output(wanted["type"], file_name(name, wanted["type"], advanced), advanced)


def _check_distinct(outputs: Sequence[Output]) -> None:
    seen = set()
    for output in outputs:
        if output.name in seen:
            raise Problem(
                Code.INVALID_SETTINGS, f"Two entries of formats would both be called {output.name!r}."
            )
        seen.add(output.name)


def _folder(path: str) -> str:
    return path if not path or path.endswith("/") else f"{path}/"


def _sas(body: Body, name: str) -> str:
    sas = body.required(name).removeprefix("?")
    if "://" in sas.partition("?")[0]:
        raise Problem(
            Code.INVALID_SETTINGS,
            f"{body.named(name)} must be the query string of the SAS alone, which is the part of the URI "
            "behind its question mark, not the full URI.",
        )
    if "sig=" not in sas or not sas.isascii() or not sas.isprintable() or set(sas) & {" ", "#", "?"}:
        raise Problem(
            Code.INVALID_SETTINGS,
            f"{body.named(name)} is not a shared access signature: a query string with a sig.",
        )
    return sas


def _date(time: datetime) -> str:
    """A time as .NET writes it, in UTC with seven digits of a second."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}0Z"
