"""Memory and time limits of a process that reads an untrusted bundle: `verify`, and each page of a report."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SECONDS = 120
MEMORY = 2 * 2**30  # bytes
# library threads reserve memory, more with more processors, and change the last digit of sums
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")


def limit_process(seconds: float = SECONDS, memory: int = MEMORY) -> None:
    """Limit the processor time and memory of this process and of the processes that it starts.

    On a system without such limits, the limits on sizes and the caller's timeout still apply.

    Parameters
    ----------
    seconds : float
    memory : int
        Bytes, in addition to those that imported libraries have reserved but not used.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in (("RLIMIT_DATA", memory + _reserved()), ("RLIMIT_CPU", int(seconds) + 1), ("RLIMIT_CORE", 0)):
        with suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def _reserved() -> int:
    """Return how many bytes libraries have reserved but not used; it grows with the number of processors."""
    with suppress(OSError, KeyError, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        facts = dict(line.split(":", 1) for line in lines if line.startswith(("VmData", "RssAnon")))
        return max(0, 1024 * (int(facts["VmData"].split()[0]) - int(facts["RssAnon"].split()[0])))
    return 0
