"""Whole runs: a configuration becomes trained weights, and those become results."""
