"""The most memory that a process has had."""

import sys
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")


def peak_memory() -> dict[str, int]:
    """Return the most bytes so far: `process`, and `gpu` where torch has used one."""
    found = {"process": _of_process()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found


def _of_process() -> int:
    # On Linux getrusage tells of the process that started this one too.
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    now = psutil.Process().memory_info()
    if sys.platform == "win32":
        return int(now.peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) * (1 if sys.platform == "darwin" else 1024)
