"""How much memory is free, so that slots and caches are sized before; and whether it ran out."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

CGROUP = Path("/sys/fs/cgroup")
OF_CGROUP = ("memory.max", "memory.current")
RAN_OUT = ("out of memory", "allocate memory", "not enough memory", "Storage size calculation")


def free_bytes(device: "torch.device", cgroup: Path = CGROUP) -> int:
    """Count what the device can still give; on a CPU a container's limit counts."""
    import torch

    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no cgroup of version 2, or "max": no limit
        limit, used = (int((cgroup / name).read_text(encoding="ascii")) for name in OF_CGROUP)
        free = min(free, max(0, limit - used))
    return free


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out; torch says so in several ways, on a CPU by a plain RuntimeError."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in RAN_OUT)
