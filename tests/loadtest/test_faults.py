"""What goes wrong at a virtual time, and what the report says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache.stats import UNAVAILABLE
from loadtest import faults, recovery, scenarios, texts, virtual
from loadtest.errors import ScenarioError
from loadtest.faults import Fault
from loadtest.scenarios import DAY_S, HOUR_S
from tests.loadtest.results import made_up

if TYPE_CHECKING:
    from loadtest.result import Result

SMALL = scenarios.load("small").changed(users=300, days=3)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("flush@3d", Fault(3 * DAY_S, "flush", 3 * DAY_S)),
        ("warming-stopped@36h+12h", Fault(36 * HOUR_S, "warming-stopped", 48 * HOUR_S)),
        ("ttl-halved:match@0.5d", Fault(DAY_S // 2, "ttl-halved", None, "match")),
        ("node-lost@90m", Fault(5400, "node-lost", 5700)),
    ],
)
def test_a_fault_is_read(text: str, fault: Fault) -> None:
    assert faults.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flood@3d", "Kinds: flush, warming-stopped"),
        ("flush@3", "units: s, m, h, d"),
        ("flush@3d+1h", "flush is a moment and has no duration"),
        ("ttl-halved@3d", "ttl-halved, and no other, names one of match, company"),
        ("ttl-halved:scores@3d", "names one of match, company"),
        ("flush:match@3d", "ttl-halved, and no other"),
    ],
)
def test_a_wrong_fault_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        faults.parse(text)


def test_a_fault_behind_the_end_is_refused() -> None:
    with pytest.raises(ScenarioError, match="comes after 10 days, and the run ends after 3; give"):
        virtual.run(SMALL, seed=1, faults=[faults.parse("flush@10d")])


def run(*texts: str, sample_every_s: int | None = None) -> Result:
    return virtual.run(SMALL, seed=1, faults=[faults.parse(text) for text in texts], sample_every_s=sample_every_s)


def hit_rate(result: Result, name: str, first_hour: int, last_hour: int) -> float:
    hours = result.counts.types[name].by(minutes=60)
    hits, lookups = (sum(hours.get(hour, (0, 0))[i] for hour in range(first_hour, last_hour)) for i in (0, 1))
    return hits / lookups


def test_a_flush_shows_as_a_dip_of_what_lives_long() -> None:
    result = run("flush@1d")

    dips = {dip.cache_type: dip for dip in recovery.dips(result)}
    assert dips["company"].lowest < dips["company"].before - 0.1
    assert dips["ijp"].lowest < dips["ijp"].before - 0.1
    assert "flush at day 1.00: " in texts.fault_lines(result)[0]


def test_faults_of_one_instant_have_the_same_dips() -> None:
    result = run("flush@1d", "storm@1d")

    flush, storm = (
        [dip.cache_type for dip in recovery.dips(result) if dip.fault == name] for name in ("flush", "storm")
    )
    assert flush == storm
    assert {"company", "ijp"} <= set(flush)


def counted(rates: dict[range, float], *planned: str) -> Result:
    """A run of which only the sessions' hit rates are known, by stretches of hours; 1,000 lookups an hour."""
    end = max(hours.stop for hours in rates)
    result = made_up(SMALL, faults=tuple(faults.parse(text) for text in planned), ran_s=end * HOUR_S)
    for hours, rate in rates.items():
        for minute in range(hours.start * 60, hours.stop * 60, 3):
            result.counts.types["session"].add(0, round(50 * rate), 50, minute)
    return result


def test_a_later_fault_is_compared_with_the_time_between_the_dips() -> None:
    result = counted(
        {range(24): 0.9, range(24, 36): 0.5, range(36, 48): 0.9, range(48, 50): 0.6, range(50, 60): 0.9},
        *("flush@24h", "storm@48h"),
    )

    flush, storm = recovery.dips(result)

    assert (flush.before, flush.lowest, flush.recovered_after_s) == (0.9, 0.5, 12 * HOUR_S)
    assert (storm.before, storm.lowest, storm.recovered_after_s) == (0.9, 0.6, 2 * HOUR_S)
    assert storm.amid is None


def test_what_followed_a_fault_too_closely_to_tell_is_not_compared_with() -> None:
    result = counted({range(3): 0.9, range(3, 9): 0.5}, "flush@3h", "ttl-halved:session@183m", "storm@5h")

    halved, storm = recovery.dips(result)

    assert (halved.fault, halved.before) == ("ttl-halved:session", 0.9)
    assert (storm.before, storm.amid) == (0.9, "ttl-halved:session")


def test_a_fault_within_another_s_dip_says_so() -> None:
    result = counted({range(24): 0.9, range(24, 30): 0.5, range(30, 40): 0.4}, "flush@24h", "storm@30h")

    flush, storm = recovery.dips(result)

    assert flush.recovered_after_s is None
    assert (storm.before, storm.amid) == (0.9, "flush")
    assert texts.fault_lines(result)[1].startswith(
        "storm at day 1.25: session fell from 90.00 % to 40.00 % at its worst (while flush was still felt), not back"
    )


def test_a_fault_that_would_outlast_the_run_ends_with_it() -> None:
    result = counted({range(24): 0.9}, "warming-stopped@12h", "ttl-halved:session@23h+5h", "flush@23h")

    lines = texts.fault_lines(result)

    assert lines[0].startswith("warming-stopped at day 0.50 to day 1.00: ")
    assert lines[1].startswith("ttl-halved:session at day 0.96 to day 1.00: ")
    assert lines[2].startswith("flush at day 0.96: ")


def test_what_was_before_a_fault_within_its_hour_is_no_part_of_its_dip() -> None:
    result = counted({range(24): 0.9, range(24, 30): 0.5}, "flush@1410m")
    at_the_end = counted({range(24): 0.9}, "flush@86399s")

    (dip,) = recovery.dips(result)

    assert dip.recovered_after_s is None
    assert dip.lowest == 0.5
    assert dip.lowest_after_s == 2 * HOUR_S
    assert "too few lookups before or behind it to tell: match" in texts.fault_lines(at_the_end)[0]


def test_a_fault_with_too_few_lookups_before_it_is_not_told_to_be_harmless() -> None:
    result = counted({range(24): 0.9}, "flush@0h")

    assert recovery.dips(result) == []
    assert texts.fault_lines(result) == [
        "flush at day 0.00: too few lookups before or behind it to tell: match, company, ijp, session."
    ]


def test_without_warming_the_hit_rate_falls_and_comes_back() -> None:
    result = run("warming-stopped@12h+24h")

    assert hit_rate(result, "match", 24, 36) < hit_rate(result, "match", 0, 12) - 0.1
    assert hit_rate(result, "match", 48, 72) > hit_rate(result, "match", 0, 12) - 0.05


def test_half_the_ttl_of_companies_is_seen_after_half_the_ttl() -> None:
    scenario = SMALL.changed(ttl_s={"company": 2 * DAY_S})
    whole, halved = (
        virtual.run(scenario, seed=1, faults=[faults.parse(text) for text in texts])
        for texts in ([], ["ttl-halved:company@0h"])
    )

    assert hit_rate(halved, "company", 24, 72) < hit_rate(whole, "company", 24, 72) - 0.02
    assert hit_rate(halved, "ijp", 24, 72) == hit_rate(whole, "ijp", 24, 72)


def test_a_storm_invalidates_every_score() -> None:
    calm, stormy = run(), run("storm@10h")

    invalidated = [result.stats.counts("match").misses["invalidated"] for result in (calm, stormy)]
    assert invalidated[1] > 1.5 * invalidated[0]
    assert hit_rate(stormy, "ijp", 0, 72) == hit_rate(calm, "ijp", 0, 72)


def test_a_lost_node_answers_nothing_and_comes_back_empty() -> None:
    result = run("node-lost@12h+30m", sample_every_s=600)

    down = [counts for minute, counts in result.minutes() if 720 <= minute < 750]
    assert sum(misses for counts in down for _, misses in counts.values()) > 0
    assert sum(hits for counts in down for hits, _ in counts.values()) == 0
    assert result.stats.counts("match").misses[UNAVAILABLE] > 0
    assert not [sample for sample in result.samples if 12 * HOUR_S <= sample.at_s < 12.5 * HOUR_S]


def test_minutes_and_samples_add_up_to_the_run() -> None:
    result = run(sample_every_s=3600)

    for name, counted in result.counts.types.items():
        minutes = [counts[name] for _, counts in result.minutes()]
        assert sum(hits for hits, _ in minutes) == counted.hits.sum()
        assert sum(hits + misses for hits, misses in minutes) == counted.lookups.sum()
    assert [sample.at_s for sample in result.samples] == list(range(HOUR_S, 3 * DAY_S + 1, HOUR_S))
    last = result.samples[-1].info
    assert last["keyspace_hits"] > 0
    assert last["used_memory"] > 0
    assert last["evicted_keys"] == 0
