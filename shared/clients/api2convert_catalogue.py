"""What an API2Convert service says it converts: asked before a credit is spent on an order."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from shared.clients import Order
from shared.clients.api2convert_wire import NAME, check_against, conversion, objects
from shared.clients.transport import Transport
from shared.formats import extension
from shared.problems import Code, Problem, ServiceFault

_KEPT_SECONDS = 24 * 3600


class Catalogue:
    """The catalogue of one service, whose rows are kept for a day."""

    def __init__(self, transport: Transport, base: str, clock: Callable[[], float]) -> None:
        """``base`` is the API's address with its version; ``clock`` counts seconds from anywhere."""
        self._transport = transport
        self._base = base
        self._clock = clock
        # Query -> when to ask again, and the rows.
        self._kept: dict[str, tuple[float, list[Mapping[str, Any]]]] = {}

    async def check(self, order: Order, *, is_packed: bool) -> None:
        """Refuses what the catalogue lacks; ``is_packed`` says that a zip of the model will be sent.

        Raises:
            Problem: `unsupported-output`, `unsupported-format` or `invalid-settings`.
            ServiceFault: the service cannot be asked now.
        """
        source = extension(order.model)
        for wanted in order.formats:
            target = str(wanted["type"])
            rows = await self._rows(f"target={quote(target, safe='')}")
            if rows is None:
                continue
            rows = [row for row in rows if row.get("target") == target]
            if not rows:
                every = await self._rows("") or []
                known = sorted({row["target"] for row in every if isinstance(row.get("target"), str)})
                raise Problem(
                    Code.UNSUPPORTED_OUTPUT,
                    f"{NAME} has no target {target!r}" + (f"; it has {', '.join(known)}." if known else "."),
                )
            pair = f"target={quote(target, safe='')}&source={quote(source.removeprefix('.'), safe='')}"
            if source != ".zip" and not is_packed and await self._rows(pair) == []:
                raise Problem(Code.UNSUPPORTED_FORMAT, f"{NAME} makes no {target!r} of {source} files.")
            check_against(rows, conversion(wanted, order.options)["options"], target)

    async def _rows(self, query: str) -> list[Mapping[str, Any]] | None:
        """Rows of the catalogue; None where it cannot be had."""
        kept = self._kept.get(query)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        try:
            answer = await self._transport.ask(
                "GET",
                f"{self._base}/conversions" + (f"?{query}" if query else ""),
                headers={"Accept": "application/json"},
                not_found=no_api(self._base),
            )
        except ServiceFault as fault:
            if fault.transient:
                raise
            return None
        rows: list[Mapping[str, Any]] = objects(answer.value)
        self._kept[query] = (self._clock() + _KEPT_SECONDS, rows)
        return rows


def no_api(base: str) -> tuple[Code, str]:
    """What to say where the address answers 404."""
    return (
        Code.SERVICE_NOT_FOUND,
        f"There is no {NAME} API at {urlsplit(base).hostname}. Check API2CONVERT_URL.",
    )
