"""Text that comes from elsewhere, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text on one line, with all that a terminal might obey written as an escape.

    Names and texts in files may hold control characters, which move the cursor or rename the
    window, marks that turn the direction of reading, and halves of characters that no encoding
    has. Runs of white space become one blank.
    """
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in line
    )
