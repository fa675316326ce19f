"""Bytes by the model and on the server."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cache import CATALOG
from cache.nodes import NODE_TYPES
from loadtest import sizing
from loadtest.__main__ import main


@pytest.mark.parametrize(
    ("size", "given"),
    [
        (1, 8),
        (8, 8),
        (24, 24),
        (57, 64),
        (65, 80),
        (129, 160),
        (161, 192),
        (257, 320),
        (5_000, 5_120),
        (70_000, 81_920),
    ],
)
def test_jemalloc_s_size_classes(size: int, given: int) -> None:
    """https://jemalloc.net/jemalloc.3.html, table 1, with the quantum of 8 that the engine builds it with."""
    assert sizing.jemalloc(size) == given


@pytest.mark.parametrize(("size", "given"), [(1, 24), (24, 24), (25, 40), (41, 56), (200_000, 200_688)])
def test_libc_s_chunks(size: int, given: int) -> None:
    assert sizing.libc(size) == given


def test_the_server_takes_what_the_model_says(capsys: pytest.CaptureFixture[str]) -> None:
    """At a size where the server's tables are still moving when the last score is written."""
    code = main(["size", "--users", "2300", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {each["layout"] for each in document["measured"]} == {"hash", "keys"}
    for each in document["measured"]:
        assert abs(each["difference"]) <= 0.03


def test_a_model_that_is_wrong_is_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "_PACKED_SCORE", 100)

    code = main(["size", "--users", "2000", "--layout", "hash"])

    assert code == 1
    assert "layout hash: the server took" in capsys.readouterr().err


def test_too_few_users_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--users", "10"]) == 2
    assert "--users is 10; below 2,000" in capsys.readouterr().err
    assert main(["size", "--users", "100000000000"]) == 2
    assert "--users is 100,000,000,000; at most 1,000,000" in capsys.readouterr().err


def test_the_fewest_users_that_may_be_asked_for_agree_with_the_model() -> None:
    assert main(["size", "--users", "2000", "--layout", "hash"]) == 0


@pytest.mark.parametrize("layout", sizing.LAYOUTS)
@pytest.mark.parametrize("node_type", NODE_TYPES)
def test_a_node_is_full_where_the_projection_reaches_what_it_can_use(layout: str, node_type: str) -> None:
    users = sizing.full_at(CATALOG, node_type, layout)
    usable = NODE_TYPES[node_type].usable_bytes

    assert sizing.project(CATALOG, users, layout, "jemalloc").total <= usable
    assert sizing.project(CATALOG, round(users * 1.05), layout, "jemalloc").total > usable


def test_tables_double() -> None:
    """Two tables of 64 bytes for seven entries each."""
    full = 7 * 2**12

    grown = sizing.tables(full + 1, sizing.jemalloc) / sizing.tables(full, sizing.jemalloc)

    assert 1.3 < grown < 2
    assert sizing.tables(0, sizing.jemalloc) == 0


@pytest.mark.parametrize("per_bucket", [4, 7])
def test_a_bucket_that_overflows_has_children(per_bucket: int) -> None:
    """Keys fall at random: of eight or more, one of the seven gives way to the pointer, and so on in each child."""
    buckets = 2**16
    held = np.random.default_rng(1).poisson(per_bucket, size=buckets)
    children = int(np.ceil((held - 7).clip(min=0) / 6).sum())

    found = sizing.tables(per_bucket * buckets, lambda size: size)

    assert found == pytest.approx(2 * 64 * (buckets + children), rel=0.01)
