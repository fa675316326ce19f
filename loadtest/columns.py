"""Plain lines of text as arrays: where their fields are, the whole numbers, times and known words in them. Pure.

A line read so costs a fifth of one that is split by itself. Whatever is not plain raises NotPlainError: the few lines
around it are then read one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

_ZERO: Final = np.uint8(ord("0"))
_MAX_DIGITS: Final = 18  # any so long fits 64 bits


class NotPlainError(ValueError):
    """A field that holds something else than what was asked for."""


class Fields:
    """The fields of whole lines, cut at each of `separators`. Lines and fields count from 0."""

    def __init__(self, lines: bytes, separators: bytes) -> None:
        self._bytes = np.frombuffer(lines, dtype=np.uint8)
        is_cut = np.zeros(256, dtype=bool)
        is_cut[list(separators + b"\n")] = True
        self._stops = np.flatnonzero(is_cut[self._bytes])
        self._starts = np.concatenate([[0], self._stops[:-1] + 1])
        ends = np.flatnonzero(self._bytes[self._stops] == ord("\n"))
        self._first = np.concatenate([[0], ends[:-1] + 1])
        self.count = ends - self._first + 1  # of each line

    def numbers(self, place: int | Integers, lines: Integers | slice = slice(None)) -> Integers:
        """Whole numbers; -1 where the field is empty."""
        starts, stops = self._span(place, lines)
        return np.where(starts == stops, -1, self._whole(starts, stops))

    def times(self, place: int) -> NDArray[np.float64]:
        """Numbers that may have a fraction."""
        starts, stops = self._span(place, slice(None))
        dots = np.flatnonzero(self._bytes == ord("."))
        # A dot elsewhere is in no field of these, so that each field has its own or none.
        at = np.searchsorted(dots, starts)
        next_dot = np.append(dots, len(self._bytes))[at]
        whole_stops = np.minimum(next_dot, stops)
        fraction_starts = np.minimum(whole_stops + 1, stops)
        if (whole_stops == starts).any():
            raise NotPlainError
        digits = stops - fraction_starts
        fraction: NDArray[np.float64] = self._whole(fraction_starts, stops) / np.power(10.0, digits)
        return self._whole(starts, whole_stops) + fraction

    def words(self, place: int, known: Sequence[bytes], lines: Integers | slice = slice(None)) -> Integers:
        """Which of the known words each is."""
        starts, stops = self._span(place, lines)
        found = np.full(len(starts), -1)
        for code, word in enumerate(known):
            same = np.flatnonzero(stops - starts == len(word))
            for position, letter in enumerate(word):
                same = same[self._bytes[starts[same] + position] == letter]
            found[same] = code
        if (found < 0).any():
            raise NotPlainError
        return found

    def _span(self, place: int | Integers, lines: Integers | slice) -> tuple[Integers, Integers]:
        fields = self._first[lines] + place
        return self._starts[fields], self._stops[fields]

    def _whole(self, starts: Integers, stops: Integers) -> Integers:
        lengths = stops - starts
        values = np.zeros(len(starts), dtype=np.int64)
        longest = int(lengths.max(initial=0))
        if longest > _MAX_DIGITS:
            raise NotPlainError
        for position in range(longest):
            inside = np.flatnonzero(lengths > position)
            digits = self._bytes[starts[inside] + position] - _ZERO
            if (digits > 9).any():
                raise NotPlainError
            values[inside] = values[inside] * 10 + digits
        return values
