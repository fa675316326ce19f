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

_MAX_DIGITS: Final = 18  # any so long fits 64 bits
_BYTES: Final = 8  # of a field that are looked at together, as one number whose lowest byte is the first of them
_POWERS: Final = 10.0 ** np.arange(_MAX_DIGITS + 1)
_ALL: Final = np.uint64(2**64 - 1)


class NotPlainError(ValueError):
    """A field that holds something else than what was asked for."""


class Fields:
    """The fields of whole lines, cut at each of `separators`. Lines and fields count from 0."""

    def __init__(self, lines: bytes, separators: bytes) -> None:
        padding = bytes(_BYTES)
        self._bytes = np.frombuffer(lines, dtype=np.uint8)
        # The eight bytes behind each place are `_eights[place + _BYTES]`, those before it `_eights[place]`.
        self._eights = np.ndarray(len(lines) + _BYTES + 1, "<u8", padding + lines + padding, strides=(1,))
        is_cut = self._bytes == ord("\n")
        for separator in separators:
            is_cut |= self._bytes == separator
        self._stops = np.flatnonzero(is_cut)
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
        if len(dots) != len(starts) or (dots < starts).any() or (dots > stops).any():
            dots = np.append(dots, len(self._bytes))[np.searchsorted(dots, starts)]
        whole_stops = np.minimum(dots, stops)
        fraction_starts = np.minimum(whole_stops + 1, stops)
        if (whole_stops == starts).any():
            raise NotPlainError
        digits = stops - fraction_starts
        fraction: NDArray[np.float64] = self._whole(fraction_starts, stops) / _POWERS[digits]
        return self._whole(starts, whole_stops) + fraction

    def words(self, place: int, known: Sequence[bytes], lines: Integers | slice = slice(None)) -> Integers:
        """Which of the known words each is."""
        starts, stops = self._span(place, lines)
        lengths = stops - starts
        heads = self._eights[starts + _BYTES] & _first(lengths)
        found = np.full(len(starts), -1)
        for code, word in enumerate(known):
            same = np.flatnonzero((lengths == len(word)) & (heads == int.from_bytes(word[:_BYTES], "little")))
            for position, letter in enumerate(word[_BYTES:], _BYTES):
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
        longest = int(lengths.max(initial=0))
        if longest > _MAX_DIGITS:
            raise NotPlainError
        values = np.zeros(len(starts), dtype=np.int64)
        for behind in range(0, longest, _BYTES):
            # What lies before the field becomes zeros in front of the number.
            is_before = _first(_BYTES - (lengths - behind))
            digits = self._eights[np.maximum(stops - behind, 0)] ^ _repeated(ord("0"))
            values += _number(digits & ~is_before) * 10**behind
        return values


def _first(count: Integers) -> NDArray[np.uint64]:
    """Ones for so many of eight bytes, from the first on; of more than eight for all, of none or fewer for none."""
    bits = (_BYTES * np.clip(_BYTES - count, 0, _BYTES)).astype(np.uint64)
    # A shift by all 64 bits is undefined, so it is made in two.
    return (_ALL >> (bits // 2)) >> (bits - bits // 2)


def _number(digits: NDArray[np.uint64]) -> Integers:
    """Of eight decimal digits, a byte each: neighbours are joined to pairs, these to fours, these to the number."""
    if ((digits | (digits + _repeated(6))) & _repeated(0xF0)).any():
        raise NotPlainError
    for bits, factor, mask in ((8, 10, 0x00FF00FF00FF00FF), (16, 100, 0x0000FFFF0000FFFF), (32, 10_000, 0xFFFFFFFF)):
        digits = (digits * np.uint64(factor) + (digits >> np.uint64(bits))) & np.uint64(mask)
    return digits.astype(np.int64)


def _repeated(byte: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([byte]) * _BYTES, "little"))
