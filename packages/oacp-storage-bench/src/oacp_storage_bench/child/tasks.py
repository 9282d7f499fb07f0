"""All tasks by name."""

from __future__ import annotations

from oacp_storage_bench.child.appending import Appending
from oacp_storage_bench.child.memory import Memory
from oacp_storage_bench.child.peering import Peering
from oacp_storage_bench.child.task import Task
from oacp_storage_bench.child.watching import Watching

TASKS: dict[str, type[Task]] = {
    "append": Appending,
    "memory": Memory,
    "peer": Peering,
    "watch": Watching,
}
