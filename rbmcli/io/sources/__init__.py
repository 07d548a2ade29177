"""Data sources: whatever a user can name as data becomes one `Dataset`.

One file a format (`idx`, `numpy_files`, `hdf5`, `folder`, `named`), one that turns any array into
images and labels (`prepare`), one that tells which labels belong to which images (`naming`), one
that finds out which format a source has (`opening`), and one that says what other files are
(`formats`).
"""

from rbmcli.io.sources.dataset import Dataset
from rbmcli.io.sources.opening import open_source

__all__ = ["Dataset", "open_source"]
