"""``oacp-storage bench STORAGE...``: measure, show, and keep."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.text import Text

from oacp_storage_bench.results import Report
from oacp_storage_core import StorageConfigError, redact_url

app = App(
    name="bench",
    help="Measure how fast storages are here, beside their bare drivers and other libraries.",
    help_format="plaintext",
    result_action="return_value",
)

_WIDE = 240


@app.default
def bench(
    *storages: str,
    against: Annotated[str, Parameter(help="What to measure beside: raw, peers, or raw,peers.")] = "raw",
    profile: Literal["quick", "full"] = "quick",
    only: str | None = None,
    traffic: Path | None = None,
    directory: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
    plot: Path | None = None,
    read: Path | None = None,
) -> int:
    """Measure storages, all in one run, in turns; each works under names of its own, which are removed at the end.

    Figures are medians over the rounds with the least and the most; rows of different durability are never compared
    without a word. Takes some minutes for each storage; with --profile full, much longer. Ctrl-C ends it early, with a
    report of what was measured by then.

    Parameters
    ----------
    storages
        URLs, storages named in oacp.toml, or file and sqlite alone, which then are made in --directory.
    against
        What to measure beside each storage: raw (the bare driver) and peers (other libraries, where installed).
    profile
        quick: five short rounds and histories up to 100,000. full: longer ones and up to 1,000,000.
    only
        Only these workloads, divided by commas: appends, sizes, batches, documents, histories, turns, watching,
        replay, memory, processes, starting.
    traffic
        A file of JSON Lines ({"agent_id": ..., "interaction": {...}}, perhaps .gz) to be replayed.
    directory
        Where embedded stores are made: a directory on the disk that is meant, by default the temporary one.
    json
        Keep everything in this file.
    markdown
        Write the report as a page of Markdown.
    plot
        Draw a picture, as SVG (needs the extra [plot]).
    read
        Measure nothing; show what --json kept, judged by the goals of this release.
    """
    from rich.console import Console

    from oacp_storage_bench import results
    from oacp_storage_bench.goals import judge
    from oacp_storage_bench.tables import show

    if plot is not None:
        _check_plot()
    for path in (json, markdown, plot):
        if path is not None and not path.parent.is_dir():
            raise StorageConfigError(f"there is no directory {path.parent} to write {path.name} to")
    if read is not None:
        try:
            report = results.read(read)
        except (OSError, ValueError) as exc:
            raise StorageConfigError(f"{read} cannot be shown: {exc}") from exc
        report.goals = judge(report)
    else:
        report = asyncio.run(_measured(storages, against, profile, only, traffic, directory))
    console = Console(
        width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE, highlight=False, markup=False
    )
    show(report, console)
    if json is not None:
        results.write(report, json)
    if plot is not None:
        from oacp_storage_bench.plot import draw

        draw(report, plot)
    if markdown is not None:
        from oacp_storage_bench.markdown import page

        picture = Path(os.path.relpath(plot, markdown.parent)) if plot is not None else None
        markdown.write_text(page(report, picture), encoding="utf-8")
    return 0


async def _measured(
    storages: tuple[str, ...],
    against: str,
    profile: str,
    only: str | None,
    traffic: Path | None,
    directory: Path | None,
) -> Report:
    """Measure, with a line on stderr about what is going on where somebody looks."""
    from rich.console import Console

    from oacp_storage_bench.profile import PROFILES
    from oacp_storage_bench.run import Plan, run
    from oacp_storage_bench.startup import STARTING
    from oacp_storage_bench.traffic import read_traffic
    from oacp_storage_bench.workloads import WORKLOADS

    if not storages:
        raise StorageConfigError("no storage is named; try: oacp-storage bench file sqlite")
    place = directory or Path(tempfile.gettempdir())
    if not place.is_dir():
        raise StorageConfigError(f"there is no directory {place}")
    chosen, everything = PROFILES[profile], (*WORKLOADS, STARTING)
    plan = Plan(
        sources=storages,
        profile=chosen,
        against=_chosen(against, ("raw", "peers"), "--against"),
        directory=place,
        traffic=None if traffic is None else read_traffic(traffic, chosen.replayed),
        only=frozenset(everything) if only is None else _chosen(only, everything, "--only"),
        command=command_line(),
    )
    console = Console(stderr=True, highlight=False, markup=False)
    with _stopping() as stop:
        if not console.is_terminal:
            return await run(plan, _steps(console.print), stop)
        with console.status("starting") as status:
            return await run(plan, lambda words: status.update(Text(words)), stop)


@contextlib.contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C sets, so that what was measured so far is shown; a second Ctrl-C ends everything."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def interrupted(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.call_soon_threadsafe(stop.set)

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield stop
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _steps(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell only the beginning of each step, for logs: what stands before the colon, when it changes."""
    last = ""

    def say(words: str) -> None:
        nonlocal last
        step = words.partition(":")[0]
        if step != last:
            last = step
            tell(step)

    return say


def _chosen(words: str, known: tuple[str, ...], option: str) -> frozenset[str]:
    """The words of a list divided by commas, all of which must be known."""
    chosen = frozenset(word.strip() for word in words.split(",") if word.strip())
    if unknown := sorted(chosen - set(known)):
        raise StorageConfigError(f"{option} {unknown[0]!r} is not known; it takes {', '.join(known)}")
    return chosen


def command_line() -> str:
    """The command line as it was given, without passwords."""
    return shlex.join(
        ["oacp-storage", *(redact_url(word) if "://" in word else word for word in sys.argv[1:])]
    )


def _check_plot() -> None:
    """Say at once, not after an hour, that the plot cannot be drawn."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise StorageConfigError("a plot needs matplotlib: pip install 'oacp-storage-bench[plot]'")
