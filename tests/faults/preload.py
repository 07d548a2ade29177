"""The preloaded library of `fault.c`, built and spoken to by names."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "fault.c"

#: Kinds of calls that may fail for want of room; on a full disk the others go through.
_NEED_ROOM = "OWSRL"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    what: as `fault.c` has it, an errno or one of its negative numbers. kinds: of the calls that it
    may happen to. sticky: whether it goes on happening. kills: whether the process is killed.
    """

    what: int
    kinds: str
    sticky: bool = False
    then: int = errno.ENOSPC

    @property
    def kills(self) -> bool:
        """Whether the process is killed."""
        return self.what in (-1, -2)


#: By the names of the command line. What a file system does not say of a call is left out: no
#: unlink fails because a disk is full. A close tells of writes that failed late, and tells it once.
FAULTS = {
    "ENOSPC": Fault(errno.ENOSPC, _NEED_ROOM + "C"),
    "sticky-ENOSPC": Fault(errno.ENOSPC, _NEED_ROOM, sticky=True),
    "EDQUOT": Fault(errno.EDQUOT, _NEED_ROOM + "C"),
    "EIO": Fault(errno.EIO, "OWSTRLCUH"),
    "sticky-EIO": Fault(errno.EIO, "OWSTRLUH", sticky=True),
    "EACCES": Fault(errno.EACCES, "ORLUH"),
    "ENOLCK": Fault(errno.ENOLCK, "F"),
    "short": Fault(-3, "W"),
    "partial": Fault(-4, "W"),
    "kill": Fault(-1, "OWSRTCULFH"),
    "half": Fault(-2, "W"),
}


@dataclass(frozen=True)
class Plan:
    """What is counted in a child, and what happens to it.

    folder: below which calls count, as `os.path.realpath` has it. call: the one that `fault`
    happens to, counted from 1; 0 for none. log: gets a line for each call that counts.
    """

    folder: str
    call: int = 0
    fault: str = "kill"
    log: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the arguments of this class."""
        return asdict(self)


def why_not() -> str | None:
    """Why the library cannot be built or preloaded here; None where it can."""
    if not sys.platform.startswith("linux"):
        return "needs Linux: the library is preloaded and asks /proc"
    if shutil.which("cc") is None:
        return "needs a C compiler called cc"
    return None


def build(folder: Path) -> Path:
    """Compile the library into a folder. RuntimeError where that cannot be."""
    if reason := why_not():
        raise RuntimeError(reason)
    library = folder / "fault.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    built = subprocess.run(
        [*command, "-o", library, SOURCE, "-ldl"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise RuntimeError(f"cc: {built.stderr.strip()}")
    return library


class Preloaded:
    """The library in this process, which was started with it preloaded."""

    def __init__(self, library: Path) -> None:
        """Find it; RuntimeError where it was not preloaded, so that nothing would be counted."""
        if str(library) not in Path("/proc/self/maps").read_text():
            raise RuntimeError(f"{library} is not preloaded")
        self._library = ctypes.CDLL(str(library))
        text, number, count = ctypes.c_char_p, ctypes.c_int, ctypes.c_long
        self._library.fault_arm.argtypes = [text, text, text, count, number, number, number]
        self._library.fault_watch.argtypes = [text, text]

    def arm(self, plan: Plan) -> None:
        """Count from now on."""
        fault = FAULTS[plan.fault]
        self._library.fault_arm(
            plan.folder.encode(),
            plan.log.encode(),
            fault.kinds.encode(),
            plan.call,
            fault.what,
            fault.sticky,
            fault.then,
        )

    def watch(self, folder: str, log: str) -> None:
        """Note in `log` what is opened below `folder` from now on."""
        self._library.fault_watch(folder.encode(), log.encode())
