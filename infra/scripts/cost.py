"""What a month costs: counted requests times the prices of infra/cost.json, which are inputs.

python3 infra/scripts/cost.py --conversions 10000 --seconds 20

``--seconds`` is how long the engine works on one model, on average. Stored bytes, traffic and the free grants
are not in it.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "cost.json"

TICKS = 30 * 24 * 60 * 2
SWEEPS = 30 * 24 * 4
INSTANCE_GB = 4
LEAST_SECONDS = 1

Counts = Mapping[str, Mapping[str, float]]
Prices = Mapping[str, tuple[float, float]]


def month(
    counted: Counts, prices: Prices, conversions: int, seconds: float
) -> dict[str, tuple[float, float]]:
    """Of each kind, how many in a month and what they cost; a run counts for at least a second."""
    runs = sum(
        times * counted[what]["function run"]
        for what, times in (("conversion", conversions), ("tick", TICKS), ("sweep", SWEEPS))
    )
    amounts = {
        "GB-second": INSTANCE_GB * (runs * LEAST_SECONDS + conversions * max(seconds - LEAST_SECONDS, 0))
    }
    for kind in prices:
        if kind not in amounts:
            amounts[kind] = (
                conversions * counted["conversion"].get(kind, 0)
                + TICKS * counted["tick"].get(kind, 0)
                + SWEEPS * counted["sweep"].get(kind, 0)
            )
    return {kind: (amounts[kind], amounts[kind] * price / per) for kind, (price, per) in prices.items()}


def sheet(counted: Counts, prices: Prices, conversions: int, seconds: float) -> str:
    """The month as a table in Markdown."""
    lines = [
        f"| kind | a conversion | a tick | a sweep | price | a month of {conversions:,} | costs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    costs = month(counted, prices, conversions, seconds)
    for kind, (amount, cost) in costs.items():
        price, per = prices[kind]
        each = [f"{counted[what][kind]:g}" if kind in counted[what] else "–" for what in counted]
        lines.append(
            f"| {kind} | {' | '.join(each)} | {_plain(price)} / {per:,} | {amount:,.0f} | {cost:,.2f} |"
        )
    lines.append(f"| **together** | | | | | | **{sum(cost for _, cost in costs.values()):,.2f}** |")
    return "\n".join(lines)


def _plain(price: float) -> str:
    return f"{price:.6f}".rstrip("0").rstrip(".")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversions", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument(
        "--prices", type=Path, default=FILE, help="a file as infra/cost.json, with your prices"
    )
    given = parser.parse_args()
    counted = json.loads(FILE.read_text(encoding="utf-8"))["counted"]
    prices = json.loads(given.prices.read_text(encoding="utf-8"))["prices"]
    print(sheet(counted, prices, given.conversions, given.seconds))


if __name__ == "__main__":
    main()
