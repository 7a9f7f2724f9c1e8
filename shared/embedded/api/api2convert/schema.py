"""The description of the API, as an OpenAPI document: which calls there are, and what a job holds."""

from typing import Any

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_BOOLEAN = {"type": "boolean"}
_OBJECT = {"type": "object"}

# Method, path, success, what it does.
_CALLS = (
    ("post", "/jobs", 201, "Create a job"),
    ("get", "/jobs", 200, "List the jobs, 50 a page; 204 where there is none"),
    ("get", "/jobs/{job_id}", 200, "Read a job"),
    ("patch", "/jobs/{job_id}", 200, "Change a job before it starts; process: true starts it"),
    ("delete", "/jobs/{job_id}", 204, "Delete a job in any state"),
    ("get", "/jobs/{job_id}/threads", 200, "Always empty"),
    ("get", "/jobs/{job_id}/history", 200, "The first and the present status of a job"),
    ("get", "/jobs/{job_id}/conversions", 200, "List the conversions of a job"),
    ("post", "/jobs/{job_id}/conversions", 201, "Add a conversion"),
    ("patch", "/jobs/{job_id}/conversions", 200, "Change conversions by their ids"),
    ("get", "/jobs/{job_id}/conversions/{conversion_id}", 200, "Read a conversion"),
    ("patch", "/jobs/{job_id}/conversions/{conversion_id}", 200, "Change a conversion"),
    ("delete", "/jobs/{job_id}/conversions/{conversion_id}", 204, "Delete a conversion"),
    ("get", "/jobs/{job_id}/input", 200, "List the inputs of a job"),
    ("post", "/jobs/{job_id}/input", 201, "Add an input"),
    ("patch", "/jobs/{job_id}/input", 200, "Change inputs by their ids"),
    ("get", "/jobs/{job_id}/input/{input_id}", 200, "Read an input"),
    ("patch", "/jobs/{job_id}/input/{input_id}", 200, "Give an input its password"),
    ("delete", "/jobs/{job_id}/input/{input_id}", 204, "Delete an input"),
    ("get", "/jobs/{job_id}/output", 200, "List the outputs of a job"),
    ("patch", "/jobs/{job_id}/output", 200, "Rename outputs of a completed job"),
    ("get", "/jobs/{job_id}/output/{output_id}", 200, "Read an output"),
    ("patch", "/jobs/{job_id}/output/{output_id}", 200, "Rename an output of a completed job"),
    ("delete", "/jobs/{job_id}/output/{output_id}", 204, "Delete an output"),
    ("get", "/conversions", 200, "The targets there are, with their options"),
    ("get", "/statuses", 200, "The statuses there are"),
    ("get", "/presets", 200, "List the presets"),
    ("post", "/presets", 201, "Create a preset"),
    ("get", "/presets/{preset_id}", 200, "Read a preset"),
    ("patch", "/presets/{preset_id}", 200, "Change a preset"),
    ("delete", "/presets/{preset_id}", 204, "Delete a preset"),
    ("get", "/contracts", 200, "Always empty"),
    ("get", "/stats/{period}/{value}/{filter}", 200, "Always empty"),
    ("get", "/schema", 200, "This document"),
    ("post", "/dl/{server}/upload-file/{job_id}", 200, "Upload a file as multipart/form-data"),
    ("post", "/dl/{server}/upload-base64/{job_id}", 200, "Upload files as base64 in JSON"),
    ("get", "/dl/{server}/download-file/{job_id}/{name}", 302, "Download an output; encoding=base64"),
)

_PUBLIC = ("/conversions", "/statuses", "/presets", "/schema", "/presets/{preset_id}")


def schema(base: str) -> dict[str, Any]:
    """The document, for the service at ``base``."""
    paths: dict[str, Any] = {}
    for method, path, status, summary in _CALLS:
        call: dict[str, Any] = {"summary": summary, "responses": {str(status): {"description": "Done"}}}
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        call["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _STRING} for name in names
        ]
        if method == "get" and path in _PUBLIC:
            call["security"] = []
        paths.setdefault(path, {})[method] = call
    return {
        "openapi": "3.0.3",
        "info": {"title": "Jobs API", "version": "2.0.1"},
        "servers": [{"url": f"{base}/v2"}],
        "security": [{"key": []}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-Oc-Api-Key"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Oc-Token"},
            },
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Any]:
    return {
        "Job": _object(
            id=_STRING,
            token=_STRING,
            type=_STRING,
            status=_object(code=_STRING, info=_STRING),
            errors=_list("Message"),
            warnings=_list("Message"),
            process=_BOOLEAN,
            conversion=_list("Conversion"),
            input=_list("InputFile"),
            output=_list("OutputFile"),
            callback=_STRING,
            notify_status=_BOOLEAN,
            fail_on_input_error=_BOOLEAN,
            fail_on_conversion_error=_BOOLEAN,
            limits=_OBJECT,
            download_passwords={"type": "array", "items": _STRING, "writeOnly": True},
            server=_STRING,
            spent=_INTEGER,
            created_at=_STRING,
            modified_at=_STRING,
        ),
        "Conversion": _object(
            id=_STRING, target=_STRING, category=_STRING, options=_OBJECT, metadata=_OBJECT
        ),
        "InputFile": _object(
            id=_STRING,
            type={"type": "string", "enum": ["remote", "upload", "base64", "cloud", "gdrive_picker"]},
            status=_STRING,
            source=_STRING,
            filename=_STRING,
            size=_INTEGER,
            checksum=_STRING,
            content_type=_STRING,
            options=_OBJECT,
            parameters=_OBJECT,
            credentials=_OBJECT,
            metadata=_OBJECT,
        ),
        "OutputFile": _object(
            id=_STRING,
            source=_OBJECT,
            uri=_STRING,
            filename=_STRING,
            size=_INTEGER,
            status=_STRING,
            content_type=_STRING,
            downloads_counter=_INTEGER,
            checksum=_STRING,
            metadata=_OBJECT,
            created_at=_STRING,
        ),
        "Message": _object(
            source={"type": "string", "enum": ["input", "conversion"]},
            id_source=_STRING,
            code=_INTEGER,
            message=_STRING,
            details=_OBJECT,
        ),
        "Error": _object(code=_INTEGER, message=_STRING, errors=_OBJECT),
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
