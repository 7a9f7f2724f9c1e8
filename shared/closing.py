"""How a conversion ends: held against the model as it is now, told in one manifest, and forgotten."""

import logging

from shared import manifest, paths
from shared.conversion import Outcome, Status, Step
from shared.hold import Hold
from shared.in_flight import NotOurs
from shared.outcome import of_another_version
from shared.problems import Code
from shared.storage import Conflict
from shared.telemetry import event

_ROUNDS = 10


class Changed(Exception):
    """What is being converted is not what is there now: the model is another version.

    ``misread`` says that the version which counts is there, and the service was given, or read, other bytes.
    """

    def __init__(self, *, misread: bool = False) -> None:
        super().__init__("the model was changed")
        self.misread = misread


class Closing:
    """The end of the conversion that a run holds.

    Raises:
        NotOurs: somebody else has taken the record.
        Changed: the model is another version by now.
    """

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._tools = hold.tools
        # Whether this run has made sure that the model is unchanged, and said so in the record (R6).
        self._is_fenced = False

    async def close(self, outcome: Outcome) -> bool:
        """R6: the model is still the version that was converted, and the record says how it ended."""
        conversion = self._hold.conversion
        head = await self._tools.head(conversion.path)
        if head is None:
            if outcome.code != Code.SOURCE_DELETED:
                self._hold.warn(Code.SOURCE_DELETED, "The model was deleted while it was being converted.")
            if not conversion.sent and not conversion.was_read(outcome):
                outcome = of_another_version(outcome)
        elif head.etag != conversion.etag:
            if not conversion.is_same_content(head.size, head.md5):
                raise Changed
            if self._is_of_others(outcome):
                raise Changed(misread=True)
            self._hold.note(etag=head.etag)
        if conversion.companions and conversion.ordered:
            await self._compare_companions()
        self._is_fenced = True
        return await self._hold.enter(Step.FINISH, outcome=outcome, status=outcome.status)

    def _is_of_others(self, outcome: Outcome) -> bool:
        """Whether the same bytes are there as before, and the service met others in between, or none: a
        success says what it read, and a failure that does not say may be theirs."""
        conversion = self._hold.conversion
        was_read = conversion.was_read(outcome)
        may_be = outcome.status is Status.FAILED and conversion.ordered and not conversion.sent
        return was_read is False or (was_read is None and may_be)

    async def finish(self) -> bool:
        """R6 and R7: the manifest, once; then what nothing refers to any more; then the record."""
        tools, hold = self._tools, self._hold
        assert hold.conversion.outcome is not None
        if not self._is_fenced:
            return await self.close(hold.conversion.outcome)
        written = manifest.build(hold.conversion, tools.now())
        for _ in range(_ROUNDS):
            try:
                settled_at = hold.conversion.settled_at or hold.conversion.accepted_at
                await tools.manifests.write(written, hold.conversion.manifest_etag, settled_at)
                break
            except Conflict:
                current = await tools.manifests.of(hold.conversion.path)
                if current and current.manifest and current.manifest.id == written.id:
                    break
                replaced = (current.manifest.id,) if current and current.manifest else ()
                await hold.save(
                    manifest_etag=current.etag if current else None,
                    drop=distinct(*hold.conversion.drop, *replaced),
                )
        else:
            raise NotOurs(written.id)
        self._tell(written)
        for conversion_id in hold.conversion.drop:
            # Before the record goes, so that a crash here leaves no folder behind.
            await tools.drop_outputs(paths.outputs(hold.conversion.path, conversion_id))
        await tools.dispose(hold.conversion)
        await hold.delete()
        return False

    async def _compare_companions(self) -> None:
        """A warning for each companion that is another version by now."""
        folder = self._hold.conversion.path[: self._hold.conversion.path.rfind("/") + 1]
        listing = self._tools.storage.list(self._tools.models, folder)
        there = {blob.name: blob.etag async for blob in listing}
        for companion in self._hold.conversion.companions:
            if there.get(companion.path) != companion.etag:
                self._hold.warn(
                    "companion-changed",
                    f"{companion.path} changed while the model was being converted. "
                    "Upload the model again to convert it with the new one.",
                )

    def _tell(self, written: manifest.Manifest) -> None:
        outcome = self._hold.conversion.outcome
        assert outcome is not None
        event(
            f"conversion.{outcome.status.value}",
            self._hold.conversion,
            level=logging.INFO if outcome.status is Status.SUCCESS else logging.WARNING,
            code=outcome.code,
            message=outcome.message,
            derivatives=len(written.derivatives),
            formats=",".join(sorted({item.output_type for item in written.derivatives})),
            seconds=round((written.timings.ended - written.timings.accepted).total_seconds(), 3),
        )


def distinct(*values: str) -> tuple[str, ...]:
    """The values in their order, each once."""
    return tuple(dict.fromkeys(values))
