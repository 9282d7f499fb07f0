"""``oacp-storage demo``: a team of agents loses its process and goes on where it was."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from oacp_storage.demo.story import Story
from oacp_storage.exits import Status, Stop
from oacp_storage.screen import stdout


def demo(
    *,
    directory: Annotated[
        Path | None,
        Parameter(help="Keep what the demo makes in this new or empty directory; by default nothing stays."),
    ] = None,
    kill_after: Annotated[
        int, Parameter(help="After how many acknowledged turns the process is killed.")
    ] = 25,
) -> int:
    """Watch a team of agents lose its process and go on where it was.

    Five agents answer questions and keep everything in an SQLite file. In the middle of the work their process is
    killed; a new one goes on; then everything is copied into JSON files and compared. No server, network or model
    is needed. The exit status is 1 when anything that it says does not hold.
    """
    if directory is not None and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Stop(f"{directory} is not an empty directory; name a new one", Status.USAGE)
    with (
        TemporaryDirectory(prefix="oacp-storage-demo-")
        if directory is None
        else nullcontext(directory) as place
    ):
        path = Path(place).resolve()
        path.mkdir(parents=True, exist_ok=True)
        console = stdout()
        story = Story(console, path, kill_after)
        status = asyncio.run(story.tell())
        if directory is not None:
            console.print(f"\nLook at it: oacp-storage show writer {story.database}", soft_wrap=True)
    return status
