"""The one declaration."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cache import CATALOG
from cache.nodes import NODE_TYPES


def test_the_catalogue_is_what_was_planned() -> None:
    planned = {(t.name, t.target_hit_rate, t.item_size_bytes * t.item_count) for t in CATALOG}

    assert planned == {
        ("match", 0.80, 100_000_000),
        ("company", 0.90, 25_000_000),
        ("ijp", 0.95, 20_000_000),
        ("session", 0.99, 10_000_000),
    }


@pytest.mark.parametrize(
    "change",
    [{"ttl_s": {"match": 0}}, {"ttl_s": {"match": 10**18}}, {"targets": {"match": 1.01}}, {"targets": {"match": 80}}],
)
def test_a_value_that_no_cache_type_may_have_is_refused(change: dict[str, dict[str, int]]) -> None:
    with pytest.raises(ValueError, match="match"):
        CATALOG.changed(**change)


def test_an_unknown_cache_type_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="Known: match, company, ijp, session"):
        CATALOG["matches"]


def test_it_prints_itself() -> None:
    command = [sys.executable, "-m", "cache", "catalog"]

    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    document = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)

    assert all(t.name in table and f"{t.target_hit_rate:.0%}" in table for t in CATALOG)
    assert [entry["ttl_s"] for entry in document] == [t.ttl_s for t in CATALOG]


def test_usable_memory_is_what_the_reserve_leaves() -> None:
    usable = {name: round(node.usable_bytes / 2**30, 2) for name, node in NODE_TYPES.items()}

    assert usable == {"cache.t4g.medium": 2.32, "cache.m6g.large": 4.79}
