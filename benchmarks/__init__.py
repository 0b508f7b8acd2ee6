"""Speed beside a named peer, in one form; ``python -m benchmarks.<name>``."""

import radiodiff  # noqa: F401 - before the scripts import torch, see radiodiff.threads
