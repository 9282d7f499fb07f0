"""What the payload rules cost: microseconds in (encode and proof) and out (decode), beside plain ``json``.

    python packages/oacp-storage-core/benchmarks/payload.py

The rule for 1 KB is at most about 10 us in and out together. Each figure is the best of several runs.
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable
from typing import Any

from oacp_storage_core.payload import decode, encode

_RUNS = 7
_SECONDS_PER_RUN = 0.05


def message(size: int) -> dict[str, Any]:
    """A message of an agent with a tool call, as large as its text makes it."""
    payload: dict[str, Any] = {
        "type": "tool_result",
        "role": "tool",
        "conversation": "retail-0042/step/7",
        "step": 7,
        "t": 1714.25,
        "ok": True,
        "error": None,
        "arguments": {"order_id": "#W5744371", "items": ["1656367028", "1421289881"], "limit": 20},
        "usage": {"prompt_tokens": 1832, "completion_tokens": 214, "cost": 0.00421},
        "content": "",
    }
    missing = size - len(encode(payload)[0])
    payload["content"] = ("The customer asks for a refund — order #W5744371. " * (missing // 40 + 1))[
        :missing
    ]
    return payload


def small_objects(count: int) -> dict[str, Any]:
    """A list of small objects: the most work per byte."""
    return {"rows": [{"id": i, "name": f"row {i}", "value": i / 7, "ok": True} for i in range(count)]}


def main() -> None:
    """Print the table."""
    cases = {
        "small": message(360),
        "1 KB": message(1024),
        "4 KB": message(4096),
        "64 KB": message(65536),
        "1,000 objects": small_objects(1000),
        "20,000 objects": small_objects(20_000),
    }
    row = "{:>15} {:>11} {:>10} {:>10} {:>12} {:>10} {:>8}"
    sys.stdout.write(
        row.format("payload", "bytes", "in us", "out us", "together us", "json us", "ratio") + "\n"
    )
    for name, payload in cases.items():
        body = encode(payload)[0]
        inwards = microseconds(lambda payload=payload: encode(payload))
        outwards = microseconds(lambda body=body: decode(body))
        plain = microseconds(lambda payload=payload: json.loads(json.dumps(payload)))
        together = inwards + outwards
        figures = (f"{x:,.1f}" for x in (inwards, outwards, together, plain))
        sys.stdout.write(row.format(name, f"{len(body):,}", *figures, f"{together / plain:.2f}") + "\n")


def microseconds(call: Callable[[], object]) -> float:
    """Microseconds of one call, the best of several runs."""
    timer = timeit.Timer(call)
    once = max(timer.timeit(1), 1e-7)
    number = max(1, int(_SECONDS_PER_RUN / once))
    return min(timer.repeat(_RUNS, number)) / number * 1e6


if __name__ == "__main__":
    main()
