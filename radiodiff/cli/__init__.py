"""The command line, one module a verb; what is slow to import is imported inside the verb."""
