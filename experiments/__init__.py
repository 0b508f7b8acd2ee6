"""Scripts whose output is a result that the book prints; ``python -m experiments.<name>``."""
