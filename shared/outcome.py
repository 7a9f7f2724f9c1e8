"""How a conversion ended: what the service reports, checked against what is there. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from shared import clients
from shared.clients import Progress, Warned
from shared.conversion import Conversion, Kept, Message, Outcome, OutputFile, Status, Step
from shared.problems import Code, Problem
from shared.storage import BlobHead

_LONGEST_CODE = 100


def told(messages: tuple[Message, ...], warnings: tuple[Warned, ...]) -> tuple[Message, ...]:
    for warning in warnings:
        message = _message("error" if warning.is_error else "warning", warning)
        if message not in messages:
            messages = (*messages, message)
    return messages


def _message(type_: Literal["warning", "error"], said: Warned) -> Message:
    details = ", ".join(f"{key}: {value}" for key, value in said.details.items())
    return Message(
        type=type_,
        code=said.code,
        message=f"{said.title} ({details})" if details else said.title,
        source=said.source,
        id_source=said.source_id,
    )


def reported(progress: Progress) -> Outcome:
    """What the service says, before it is checked."""
    files = _files(progress.outputs or ())
    succeeded = progress.status is Status.SUCCESS
    return Outcome(
        status=Status.SUCCESS if succeeded else progress.status,
        code=None if succeeded else _code(progress.code),
        message=None if succeeded else progress.message,
        errors=() if succeeded else tuple(_message("error", said) for said in progress.errors),
        files=files,
        kept=tuple(Kept(output_type=one.type, guid=one.guid, name=one.name) for one in progress.kept),
        statistics=dict(progress.statistics),
        model_etag=progress.model_etag,
        model_md5=progress.model_md5,
    )


def of_another_version(outcome: Outcome) -> Outcome:
    """The outcome of a conversion whose model is gone, and was perhaps another when the service read it:
    nobody can tell any more, so it is no success."""
    if outcome.status is not Status.SUCCESS:
        return outcome
    return Outcome(
        status=Status.FAILED,
        code=Code.SOURCE_DELETED,
        message="The model was deleted while it was being converted, and it is not certain which version was "
        "read. Upload it again to convert it.",
        logs=(*outcome.logs, *outcome.files),
    )


def out_of_time(conversion: Conversion, deadline: float, fault: str | None) -> Problem:
    """What a person is told of a conversion that took longer than ``deadline`` seconds; ``fault`` is what the
    last call to its service, or to storage, met, if it failed."""
    if conversion.step is Step.INTAKE:
        what = f"The conversion did not begin within {deadline:g} s."
    elif conversion.step is Step.COLLECT:
        what = f"{conversion.service} finished, but its outputs could not be fetched in time."
    else:
        what = f"{conversion.service} did not finish within {deadline:g} s."
    if fault:
        what += f" The last call failed: {fault}"
    elif conversion.service_id and conversion.step is not Step.COLLECT:
        what += f" Its last word was '{conversion.status}'."
    return Problem(Code.TIMEOUT, f"{what} Delete the manifest to try again, or raise DEADLINE_SECONDS.")


def with_outputs(outcome: Outcome, outputs: Sequence[clients.OutputFile]) -> Outcome:
    """The outcome with the files that were brought from the service."""
    return outcome.model_copy(update={"files": _files(outputs)})


def _files(outputs: Sequence[clients.OutputFile]) -> tuple[OutputFile, ...]:
    return tuple(
        OutputFile(
            path=output.path,
            output_type=output.type,
            role=output.role,
            size=output.size if output.size is not None else -1,
            content_type=output.content_type,
            sha256=output.sha256,
        )
        for output in outputs
    )


def collected(outcome: Outcome, there: Mapping[str, BlobHead], wanted: Sequence[str]) -> Outcome:
    """The outcome with the files that exist; success without all of its files is none, nor is it without one
    for each of the ``wanted`` types, where the service says what it wrote."""
    stated = {file.path: file for file in outcome.files}
    files: list[OutputFile] = []
    logs: list[OutputFile] = []
    for name, blob in there.items():
        said = stated.get(name)
        file = OutputFile(
            path=name,
            output_type=said.output_type if said else None,
            role=said.role if said else None,
            size=blob.size,
            content_type=blob.content_type,
            sha256=said.sha256 if said else None,
            md5=blob.md5.hex() if blob.md5 else None,
        )
        # A service that does not say what it wrote still names its reports as the vendor's does.
        is_log = said.role == "report" if said else name.endswith((".result.json", ".info.json"))
        (logs if is_log else files).append(file)
    if outcome.status is not Status.SUCCESS:
        return outcome.model_copy(update={"files": (), "logs": (*logs, *files)})
    short = [
        f"{path.rpartition('/')[2]} "
        + (f"({there[path].size} bytes of {file.size})" if path in there else "(missing)")
        for path, file in stated.items()
        if path not in there or (file.size >= 0 and there[path].size != file.size)
    ]
    short += [f"{type_} (none)" for type_ in _lacking(outcome, wanted)]
    if short or not (files or outcome.kept):
        return Outcome(
            status=Status.FAILED,
            code=Code.MISSING_OUTPUT,
            message="The service reported success, but "
            + (f"these outputs are not as it said: {', '.join(short)}." if short else "wrote no output.")
            + " Delete the manifest to convert again.",
            logs=(*logs, *files),
        )
    return outcome.model_copy(update={"files": tuple(files), "logs": tuple(logs)})


def _lacking(outcome: Outcome, wanted: Sequence[str]) -> list[str]:
    """The types that were ordered, and that no file is of."""
    made = Counter(file.output_type for file in outcome.files if file.output_type and file.role is None)
    if not made:
        return []
    kept = {one.output_type for one in outcome.kept}
    return sorted(type_ for type_ in (Counter(wanted) - made).elements() if type_ not in kept)


def _code(said: str | None) -> str:
    """The service's own code, in one line of a code's length."""
    return " ".join((said or "").split())[:_LONGEST_CODE] or Code.CONVERSION_FAILED
