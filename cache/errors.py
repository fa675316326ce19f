"""The exceptions that the library raises. A server in trouble raises none: it is a miss.

ValueError and TypeError
└── InvalidKeyError   an id or key from which no safe key can be built (also a ValueError)
└── UncacheableError  a value that JSON cannot hold (also a TypeError)
"""

from __future__ import annotations


class InvalidKeyError(ValueError):
    """An id or key that could be mixed up with another key, or too many ids for one call."""


class UncacheableError(TypeError):
    """A value that would not come out of the cache as it went in."""
