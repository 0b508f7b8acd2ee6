"""Memory that is kept between steps: the C library gives back at once what was freed.

A step of training frees its tensors and the next one asks for the same sizes again. glibc takes
each large one from the system anew, which hands over empty pages, one fault every 4 kB: on a CPU
these are a good part of a small step. The price is that a process holds on to its peak. No result
changes. It holds for the whole process, so work calls it where it begins, not an import.
"""

import ctypes
import os

__all__ = ["keep_memory"]

#: Parameters of glibc's ``mallopt``, see its manual page: how much free memory goes back to the
#: system, and how many blocks are taken from it one by one; and the values that mean all is kept.
_SETTINGS = {-1: 2**31 - 1, -4: 0}  # M_TRIM_THRESHOLD, M_MMAP_MAX

_is_done = False


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next step, once a process; return whether it did.

    What the user has set stays: a variable ``MALLOC_...``, or one of malloc in ``GLIBC_TUNABLES``.
    Where there is no glibc nothing is done.
    """
    global _is_done
    if _is_done or _is_set_by_user():
        return False
    library = _c_library()
    if not (hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version")):
        return False
    _is_done = True
    return all([library.mallopt(name, value) for name, value in _SETTINGS.items()])


def _is_set_by_user() -> bool:
    """Whether the environment says how memory is to be taken and given back."""
    names = any(name.startswith("MALLOC_") for name in os.environ)
    return names or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")


def _c_library() -> ctypes.CDLL | None:
    """Return the functions of this process, the C library's among them; ``None`` on Windows."""
    return ctypes.CDLL(None) if os.name == "posix" else None
