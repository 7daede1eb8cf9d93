"""How much memory is free, so that slots and caches are sized before; and whether it ran out."""

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

CGROUP = Path("/sys/fs/cgroup")
RAN_OUT = ("out of memory", "allocate memory", "not enough memory", "Storage size calculation")


def free_bytes(device: "torch.device", cgroup: Path = CGROUP) -> int:
    """Count what the device can still give; on a CPU a container's limit counts."""
    import torch

    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = int(psutil.virtual_memory().available)
    limit = _container(cgroup)
    return free if limit is None else min(free, limit)


def _container(root: Path) -> int | None:
    """Count what a cgroup (version 2) leaves us; None without a limit."""
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out; torch says so in several ways, on a CPU by a plain RuntimeError."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in RAN_OUT)
