"""Write photographs that libraries ship into a folder: python photographs.py FOLDER [--natural].

The two of scikit-learn; with --natural also those inside scikit-image's package, in grey.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_images

#: Photographs of things that a person could see, one of a pair that stands there twice. Its other
#: pictures are drawings, text, silhouettes, and what microscopes and telescopes saw.
NATURAL = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "rocket.jpg"),
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--natural", action="store_true")
arguments = parser.parse_args()
folder = arguments.folder
folder.mkdir(parents=True, exist_ok=True)
photographs = load_sample_images()
for name, pixels in zip(photographs.filenames, photographs.images, strict=True):
    Image.fromarray(pixels).save(folder / f"{Path(name).stem}.png")
if arguments.natural:
    # Not by its functions, which would fetch what is missing.
    shipped = Path(skimage.data.__file__).parent
    for name in NATURAL:
        with Image.open(shipped / name) as picture:
            picture.convert("L").save(folder / f"{Path(name).stem}.png")
