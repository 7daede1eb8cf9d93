"""How much memory there is to have, so that slots and caches are sized before they are needed."""

import os
from pathlib import Path

import torch

UNKNOWN_BYTES = 2 << 30  # where nobody says


CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device, cgroup: Path = CGROUP) -> int:
    """What the device can still give; on a CPU a container's limit counts."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = _meminfo() or _half_of_all() or UNKNOWN_BYTES
    limit = _container(cgroup)
    return free if limit is None else min(free, limit)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _container(root: Path) -> int | None:
    """What a cgroup (version 2) leaves us; None without a limit."""
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def _half_of_all() -> int | None:
    """A guess where /proc is not, as on macOS."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return None
