"""Speed beside a named peer, in one form; ``python -m benchmarks.<name>``."""
