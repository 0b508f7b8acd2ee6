"""Names that the help lists and that options take, as plain text.

Where they are defined, Numba or torch is imported; so they are written here once more, that
``--help`` starts without either, and a test compares both.
"""

__all__ = ["CITY_NAMES", "PROFILES", "PROTOCOLS", "VARIANTS"]

#: As `radiodiff.simulate.CITY_NAMES`.
CITY_NAMES = ("munich", "san_francisco", "procedural", "paris", "florence")

#: As `radiodiff.simulate.VARIANTS`.
VARIANTS = ("DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4")

#: As `radiodiff.reference.PROFILES`.
PROFILES = ("R24", "R25")

#: As `radiodiff.scoring.PROTOCOLS`.
PROTOCOLS = ("city", "radiodiff", "radiounet", "rmdm", "radioflow")
