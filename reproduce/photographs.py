"""Write the two photographs that scikit-learn ships into a folder: python photographs.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
photographs = load_sample_images()
for name, pixels in zip(photographs.filenames, photographs.images, strict=True):
    Image.fromarray(pixels).save(folder / f"{Path(name).stem}.png")
