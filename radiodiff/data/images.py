"""Reading one image of a dataset, and the error that names the file at fault."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

__all__ = ["DatasetError", "is_image_name", "read_gray"]


class DatasetError(Exception):
    """A dataset folder that is missing, incomplete or broken; says where and what to do."""


def is_image_name(name: str) -> bool:
    """Return whether a file name is that of an image, not of one still being written."""
    return name.endswith(".png") and not name.startswith(".")


def read_gray(path: Path) -> np.ndarray:
    """Return an 8-bit gray image, shape ``(h, w)``, uint8.

    Raises:
        DatasetError: If the file is missing, unreadable or of another mode; names it.
    """
    try:
        with Image.open(path) as image:
            if image.mode != "L":
                raise DatasetError(f"{path} must be 8-bit gray (mode L), got mode {image.mode}")
            return np.array(image)
    except FileNotFoundError:
        raise DatasetError(f"no file {path}: the dataset is incomplete") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(f"cannot read {path}: {error}; fetch or make it again") from error
