"""Scripts whose output is a result that the book prints; ``python -m experiments.<name>``."""

import radiodiff  # noqa: F401 - before the scripts import torch, see radiodiff.threads
