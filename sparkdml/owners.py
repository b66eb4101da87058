"""Names of unfinished files and directories that tell which process writes them, and whether it can still be alive.

What a killed job left may be removed; what a live one is writing never. A name ends with the host and its PID
namespace, the boot, a number, the process and when that started. Such a process is dead if the host has booted since,
or has no such process now. Of another host nobody knows: then what nobody has changed for 24 hours is taken for left.
"""

import hashlib
import itertools
import os
import re
import socket
import time
from pathlib import Path

STALE_SECONDS = 24 * 3600
OWNER = r"-([0-9a-f]{8})\.([0-9a-f]{8})\.[0-9]+\.([0-9]+)\.([0-9]+)"
_OWNER = re.compile(OWNER + "$")
_numbers = itertools.count()


def owned(name: str) -> str:
    """The name with this process as its owner; another one at each call."""
    return f"{name}-{_place()}.{_boot()}.{next(_numbers)}.{os.getpid()}.{_started(os.getpid())}"


def is_abandoned(name: str, modified: float) -> bool:
    """Whether the owner is known to be dead, or it is 24 hours since `modified`, which is in seconds since 1970."""
    return is_dead(name) or time.time() - modified > STALE_SECONDS


def is_dead(name: str) -> bool:
    """Whether the owner that a name tells is a process of this host that is no more.

    >>> is_dead(owned("x")), is_dead("x"), is_dead(owned("x").rpartition(".")[0] + ".1")
    (False, False, True)
    """
    found = _OWNER.search(name)
    if found is None or found[1] != _place():
        return False
    return found[2] != _boot() or found[4] != str(_started(int(found[3])))


def _place() -> str:
    """The host and the namespace in which a PID means something, in eight digits."""
    namespace = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _boot() -> str:
    """Which boot of the host this is, in eight digits; zeros where the system does not tell."""
    try:
        return hashlib.sha256(Path("/proc/sys/kernel/random/boot_id").read_bytes()).hexdigest()[:8]
    except OSError:
        return "0" * 8


def _started(process: int) -> int:
    """When a process started, in ticks since the boot; 0 where there is none, or 1 where the system tells no more."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        if os.path.isdir("/proc/self"):
            return 0
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return 0
    except PermissionError:
        return 1
    return 1
