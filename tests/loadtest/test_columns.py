"""Plain lines as arrays: each field as it would be read by itself, or refused."""

from __future__ import annotations

import random

import numpy as np
import pytest

from loadtest.columns import Fields, NotPlainError

WORDS = [b"get", b"match", b"invalidate", b"enrichment"]


def test_fields_of_every_length_are_read_as_they_would_be_one_by_one() -> None:
    rng = random.Random(1)
    numbers = ["", *("9" * length for length in range(1, 19)), *(str(10**digits) for digits in range(18)), "007"]
    times = ["5", "5.", "1767571200", "1767571200.25", "1767571200250", "0.001"]
    lines = [
        (number, time, word.decode())
        for number in rng.sample(numbers, len(numbers))
        for time in times
        for word in rng.sample(WORDS, len(WORDS))
    ]
    found = Fields("".join(f"{','.join(line)}\n" for line in lines).encode(), b",")

    assert found.numbers(0).tolist() == [int(number) if number else -1 for number, _, _ in lines]
    assert found.times(1).tolist() == pytest.approx([float(time) for _, time, _ in lines], abs=1e-9)
    assert [WORDS[code].decode() for code in found.words(2, WORDS)] == [word for _, _, word in lines]


@pytest.mark.parametrize("digits", [1, 7, 8, 9, 17])
def test_what_is_no_digit_is_refused_wherever_it_stands(digits: int) -> None:
    others = bytes(set(range(256)) - set(b"0123456789,\n"))
    accepted = []
    for place in range(digits):
        for other in others:
            field = bytearray(b"1" * digits)
            field[place] = other
            try:
                Fields(b"1,%s,1\n" % field, b",").numbers(1)
            except NotPlainError:
                continue
            accepted.append(bytes(field))

    assert accepted == []


@pytest.mark.parametrize("field", [b"1" * 19, b"12345678901234567890"])
def test_a_number_that_may_not_fit_is_refused(field: bytes) -> None:
    with pytest.raises(NotPlainError):
        Fields(field + b"\n", b",").numbers(0)


@pytest.mark.parametrize("field", [b"", b"ge", b"gets", b"match\0", b"invalidat", b"invalidatx", b"xnvalidate"])
def test_an_unknown_word_is_refused(field: bytes) -> None:
    with pytest.raises(NotPlainError):
        Fields(b"get\n" + field + b"\n", b",").words(0, WORDS)


def test_some_lines_are_read_without_the_others() -> None:
    found = Fields(b"1,a\nx,2\n3,b\n", b",")

    assert found.numbers(np.array([0, 1, 0])).tolist() == [1, 2, 3]
