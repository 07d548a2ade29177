"""A guard while a library reads what may have been made to break it (`_guard.c`)."""

def begin(before: bytes, after: bytes, seconds: float, memory: int) -> bool:
    """Set the guard; False where there is one already, which is enough then.

    It ends the process with status 1, and `before`, a reason and `after` on standard error, where
    it crashes, or computes for longer than `seconds`. Meanwhile it gets `memory` bytes more than it
    has, where that is known.
    """

def finish() -> None:
    """Take away the guard that `begin` set."""
