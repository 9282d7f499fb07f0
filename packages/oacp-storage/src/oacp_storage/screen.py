"""What goes to the terminal: consoles, tables, and text of others made harmless."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from oacp_storage.damaged import Damages

_WIDE = 4096


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let ``main`` see it; Rich would end the process with a status of its own."""
        raise BrokenPipeError


def stdout() -> Console:
    """The console of stdout. Where nobody looks, lines are as long as they are."""
    return _make(stderr=False)


def stderr() -> Console:
    """The console of stderr."""
    return _make(stderr=True)


def _make(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDE
    return _Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A plain table without lines; columns in ``right`` are numbers, the last one takes what room there is."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return made


def print_table(rows: Table) -> None:
    """The table on stdout, without the blanks that would fill up its last column."""
    console = stdout()
    with console.capture() as captured:
        console.print(rows)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


@contextmanager
def progress_bar(total: int | None = None) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on stderr, to be called with what is done and a few words; nothing where it is no terminal.

    Without ``total`` the bar only shows that something moves.
    """
    console = stderr()
    if not console.is_terminal:
        yield lambda _done, _words: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        yield lambda done, words: bar.update(task, completed=done, description=words)


def counted(number: int, noun: str) -> str:
    """The number with its noun: ``1 agent``, ``2,000 agents``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tell_of_damage(damages: Damages) -> None:
    """On stderr, a line for each damaged record that was left out."""
    for reason in damages.reasons:
        sys.stderr.write(f"damaged, left out: {visible(reason)}\n")
    if damages.count > len(damages.reasons):
        sys.stderr.write(f"... and {counted(damages.count - len(damages.reasons), 'more damaged record')}\n")


def visible(text: str) -> str:
    """The text with everything escaped that could move the cursor, ring the bell or turn the line around."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
