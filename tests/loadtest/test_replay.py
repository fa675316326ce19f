"""Recorded accesses in virtual time."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
import zstandard

from loadtest import accesslog, loglines, replay, scenarios, verdict, virtual
from loadtest import population as populations
from loadtest.__main__ import main
from loadtest.accesslog import AccessLog
from loadtest.errors import ScenarioError
from loadtest.faults import Fault
from loadtest.loglines import Group
from loadtest.scenarios import DAY_S
from loadtest.traffic import Behaviour, Call, Platform
from loadtest.virtual import instants
from tests.loadtest.logs import groups

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HEAD = "timestamp,cache_type,user_id,item_id,operation\n"
SMALL = scenarios.load("small").changed(users=150, days=3, warming="off")
OPERATION = {
    Call.MATCH_SCORES: ("match", "get"),
    Call.COMPANY: ("company", "get"),
    Call.IJP: ("ijp", "get"),
    Call.GET_SESSION: ("session", "get"),
    Call.START_SESSION: ("session", "start"),
    Call.END_SESSION: ("session", "end"),
    Call.UPDATE_IJP: ("ijp", "update"),
    Call.INVALIDATE_JOB: ("match", "invalidate"),
    Call.SET_COMPANY: ("company", "set"),
}


def write(folder: Path, text: str, name: str = "log.csv") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def recorded() -> Iterable[str]:
    """The behaviour of `SMALL` as a log."""
    people = populations.draw(SMALL, 1)
    platform = Platform(SMALL, people)
    yield HEAD
    for now, operations in instants(Behaviour(SMALL, people, 1).streams(), SMALL.days * DAY_S):
        for operation in operations:
            for call in platform.calls(operation, now):
                cache_type, name = OPERATION[call.call]
                user = "" if call.user < 0 else str(call.user)
                items = call.jobs or ([call.subject] if cache_type in ("company", "match") else [""])
                yield from (f"{now},{cache_type},{user},{item},{name}\n" for item in items)


def test_what_was_recorded_is_what_comes_out(tmp_path: Path) -> None:
    """From an empty cache, as the behaviour itself gives it after a flush at its start."""
    file = write(tmp_path, "".join(recorded()))
    live = virtual.run(SMALL, seed=1, faults=[Fault(0, "flush", 0)])

    replayed = replay.run(AccessLog(file), SMALL, warm_up_s=0)

    assert replayed.stopped_because is None
    for name in ("match", "company", "ijp"):
        assert replayed.counts.types[name].total() == live.counts.types[name].total()


SAME_SECOND = [
    *("9,session,1,,start", "9,session,1,,get", "9,session,2,,get", "9,ijp,1,,get", "9,ijp,1,,get", "9,ijp,2,,get"),
    *("9,match,1,5,get", "9,match,2,5,get", "9,match,1,5,get", "9,company,2,8,get", "9,company,1,8,get"),
    *("10,match,1,5,get", "10,match,,5,invalidate", "10,match,1,5,get", "10,match,2,5,get", "10,company,,8,get"),
    *("10,ijp,1,,get", "10,ijp,1,,update", "10,ijp,1,,get", "10,ijp,2,,get", "10,match,1,5,get"),
    *("11,session,1,,get", "11,session,1,,end", "11,session,1,,get", "11,company,,8,invalidate", "11,company,1,8,get"),
]


def test_what_one_second_holds_is_in_flight_together_behind_changes_of_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + "\n".join(SAME_SECOND) + "\n")

    counts = replay.run(AccessLog(file), SMALL, warm_up_s=0).counts.types

    assert {name: counted.total() for name, counted in counts.items()} == {
        "session": (2, 4),  # the one behind the login, the one before the logout
        "ijp": (3, 6),  # those of the next second, behind an update too
        "match": (1, 7),  # the one before the job is invalidated
        "company": (1, 4),
    }


def test_a_score_that_is_filled_before_its_job_is_invalidated_is_gone(tmp_path: Path) -> None:
    """In the same second, and though nobody had asked for the job before."""
    file = write(tmp_path, HEAD + "9,match,2,5,get\n9,match,,5,invalidate\n10,match,2,5,get\n")

    assert replay.run(AccessLog(file), SMALL, warm_up_s=0).counts.types["match"].total() == (0, 2)


def test_what_several_ask_for_in_one_second_is_read_once_and_counts_for_each(tmp_path: Path) -> None:
    calls = ["session,1,,get", "ijp,1,,get", "company,,8,get", "match,1,5,get"]
    lines = [f"{second},{call}\n" for second in (9, 10) for call in calls for _ in range(3)]
    file = write(tmp_path, HEAD + "8,session,1,,start\n" + "".join(lines))

    result = replay.run(AccessLog(file), SMALL, warm_up_s=0)

    totals = {name: counted.total() for name, counted in result.counts.types.items()}
    assert totals == {"session": (6, 6), "ijp": (3, 6), "company": (3, 6), "match": (3, 6)}
    assert result.stats.counts("ijp").computes == 1
    assert result.stats.data_reads == 8
    assert result.commands >= 8


def test_memory_is_read_at_the_beginning_of_each_hour_and_at_the_end(tmp_path: Path) -> None:
    ijp = {second: [f"{second},ijp,{second + user},,get\n" for user in range(500)] for second in (3_500, 7_100)}
    log = [*ijp[3_500], "3700,ijp,1,,get\n", *ijp[7_100], "7300,ijp,1,,get\n"]
    file = write(tmp_path, HEAD + "".join(log))

    memory = replay.run(AccessLog(file), SMALL, warm_up_s=0).memory

    assert [sample.hour for sample in memory] == [1, 2]
    assert memory[0].used_bytes + 500 * SMALL.catalog.ijp.item_size_bytes / 2 < memory[1].used_bytes


def test_where_the_file_is_cut_into_blocks_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a change waits for it, whichever block it is read with."""
    lines = [f"{second}{line[line.index(',') :]}\n" for second in (9, 10) for line in SAME_SECOND]
    file = write(tmp_path, HEAD + "".join(lines))
    whole = replay.run(AccessLog(file), SMALL, warm_up_s=0)

    for size in (30, 100, 170):
        monkeypatch.setattr(accesslog, "_READ_BYTES", size)
        in_blocks = replay.run(AccessLog(file), SMALL, warm_up_s=0)
        for name, counted in whole.counts.types.items():
            assert in_blocks.counts.types[name].total() == counted.total()
            assert in_blocks.stats.counts(name).misses == whole.stats.counts(name).misses


@pytest.mark.parametrize("layout", ["hash", "keys"])
def test_two_processes_give_the_numbers_of_one(tmp_path: Path, layout: str) -> None:
    lines = [*(f"{line}\n" for line in SAME_SECOND), *list(recorded())[1:]]
    file = write(tmp_path, HEAD + "".join(sorted(lines, key=lambda line: int(line.partition(",")[0]))))

    one, two = (
        replay.run(AccessLog(file), SMALL, layout=layout, warm_up_s=3_600, processes=processes) for processes in (1, 2)
    )

    assert verdict.judge(two).rows == verdict.judge(one).rows
    for name, counted in one.counts.types.items():
        assert counted.total()[1]
        assert two.counts.types[name].by_minute == counted.by_minute
        assert two.stats.counts(name).misses == one.stats.counts(name).misses
    assert two.stats.data_reads == one.stats.data_reads
    assert two.scenario == one.scenario
    assert [sample.hour for sample in two.memory] == [sample.hour for sample in one.memory]


def test_consecutive_gets_of_one_user_are_one_list_view(tmp_path: Path) -> None:
    lines = [
        "5,match,7,1,get",
        "5,match,7,2,get",
        "5,match,8,2,get",
        "6,match,8,3,get",
        "6,ijp,8,,get",
        "6,company,,4,get",
    ]
    file = write(tmp_path, HEAD + "\n".join(lines) + "\n")

    assert groups(file) == [
        *(Group(5, "match", "get", 7, [1, 2]), Group(5, "match", "get", 8, [2]), Group(6, "match", "get", 8, [3])),
        *(Group(6, "ijp", "get", 8, []), Group(6, "company", "get", -1, [4])),
    ]


def test_the_same_list_twice_in_one_second_is_two_views(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + "5,match,7,1,get\n5,match,7,2,get\n5,match,7,1,get\n")

    assert [group.items for group in groups(file)] == [[1, 2], [1]]


def test_a_spreadsheet_s_mark_in_front_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert groups(write(tmp_path, f"\ufeff{HEAD}5,ijp,7,,get\n")) == [Group(5, "ijp", "get", 7, [])]


def test_a_size_that_no_server_takes_is_malformed(tmp_path: Path) -> None:
    file = write(tmp_path, "5,company:4:enrichment,300\n6,company:4:enrichment,99999999999999\n")
    log = AccessLog(file)

    assert replay.run(log, SMALL, warm_up_s=0).counts.types["company"].total() == (0, 1)
    assert log.examples == ["line 2: a size above 500,000,000 bytes in '6,company:4:enrichment,99999999999999'"]


def test_other_columns_are_mapped(tmp_path: Path) -> None:
    file = write(tmp_path, "op,who,when,what,kind\nget,7,5,1,match\nget,7,5,2,match\n")
    columns = {"timestamp": "when", "cache_type": "kind", "user_id": "who", "item_id": "what", "operation": "0"}

    assert groups(file, columns=columns) == [Group(5, "match", "get", 7, [1, 2])]


def test_other_columns_of_a_trace_are_mapped(tmp_path: Path) -> None:
    file = write(tmp_path, "what,when\nijp:7,5\n")

    assert groups(file, columns={"timestamp": "when", "key": "what"}) == [Group(5, "ijp", "get", 7, [])]


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        (
            HEAD,
            [
                *("5,ijp,7,,get", "5,match,7,1,get", "6,match,7,,invalidate", "6,match,,5,invalidate"),
                *("7,company,,4,get", "7,company,7,4,get", "8.5,session,007,,start"),
            ],
        ),
        ("", ["5,ijp:7,", "5,match:7:1,", "6,company:4:enrichment,300", "6,user:7:session,0"]),
    ],
    ids=["log", "trace"],
)
def test_plain_lines_are_read_at_once_and_as_they_are_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, lines: list[str]
) -> None:
    one_by_one = groups(write(tmp_path, head + "\n".join([*lines, "spoilt\n"])))
    monkeypatch.setattr(loglines.Reader, "line", None)

    assert groups(write(tmp_path, head + "\n".join(lines))) == one_by_one
    assert len(one_by_one) == len(lines)


@pytest.mark.parametrize("head", ["", "timestamp,key,size\n"])
def test_a_trace_of_keys_is_read(tmp_path: Path, head: str) -> None:
    keys = ["match:7:1", "match:7:2", "ijp:7", "user:7:session", "company:4:enrichment"]
    file = write(tmp_path, head + "".join(f"5,{key},300\n" for key in keys))

    found = groups(file)

    assert [(g.cache_type, g.user, g.items) for g in found] == [
        *(("match", 7, [1, 2]), ("ijp", 7, []), ("session", 7, []), ("company", -1, [4])),
    ]
    assert {g.size_bytes for g in found} == {300}


def test_a_session_of_a_trace_that_misses_is_started(tmp_path: Path) -> None:
    """A trace has no logins."""
    file = write(tmp_path, "".join(f"{second},user:7:session\n" for second in (5, 6, 1000, 3000)))

    assert replay.run(AccessLog(file), SMALL, warm_up_s=0).counts.types["session"].total() == (1, 4)


@pytest.mark.parametrize(
    "time", ["1767571200.25", "1767571200250", "2026-01-05T00:00:00.250Z", "2026-01-05 00:00:00.250"]
)
def test_seconds_milliseconds_and_iso_are_the_same_time(tmp_path: Path, time: str) -> None:
    assert groups(write(tmp_path, f"{HEAD}{time},ijp,7,,get\n"))[0].time_s == 1767571200.25


def test_compressed_files_are_read(tmp_path: Path) -> None:
    text = (HEAD + "5,ijp,7,,get\n").encode()
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "log.csv.zst").write_bytes(zstandard.compress(text))

    assert groups(tmp_path / "log.csv.gz") == groups(tmp_path / "log.csv.zst") == [Group(5, "ijp", "get", 7, [])]


def test_two_processes_give_the_numbers_of_one_up_to_where_a_file_is_cut_short(tmp_path: Path) -> None:
    whole = gzip.compress("".join(recorded()).encode())
    file = tmp_path / "log.csv.gz"
    file.write_bytes(whole[: len(whole) // 2])

    one, two = (replay.run(AccessLog(file), SMALL, warm_up_s=0, processes=processes) for processes in (1, 2))

    assert one.stopped_because == two.stopped_because
    assert str(one.stopped_because).startswith("log.csv.gz ends in the middle, behind line ")
    for name, counted in one.counts.types.items():
        assert two.counts.types[name].total() == counted.total()


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_that_ends_in_the_middle_is_noticed(tmp_path: Path, suffix: str) -> None:
    text = (HEAD + "".join(f"{second},ijp,{second * 7919 % 1000},,get\n" for second in range(20_000))).encode()
    whole = gzip.compress(text) if suffix == "gz" else zstandard.compress(text)
    log = AccessLog(tmp_path / f"log.csv.{suffix}")
    log.path.write_bytes(whole[: len(whole) // 2])

    assert sum(len(calls.first) for calls in log.calls()) in range(1, 20_000)
    assert log.is_cut_short


def test_frames_behind_each_other_are_one_file(tmp_path: Path) -> None:
    """As a log that is compressed again and again, or by several threads."""
    (tmp_path / "log.csv.zst").write_bytes(zstandard.compress(HEAD.encode()) + zstandard.compress(b"5,ijp,7,,get\n"))

    assert groups(tmp_path / "log.csv.zst") == [Group(5, "ijp", "get", 7, [])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log.csv is empty"),
        (HEAD, "has a header and no lines"),
        (
            "when,cache_type,user_id,item_id,operation\n5,ijp,7,,get\n",
            "has no column 'timestamp'; it has when, cache_type",
        ),
        (HEAD + "1767571200250000,ijp,7,,get\n", "later than any time in milliseconds"),
        (HEAD + "noon,ijp,7,,get\n", "'noon' is no timestamp; seconds, milliseconds or ISO 8601"),
        (HEAD + "nan,ijp,7,,get\n", "'nan' is no timestamp; seconds, milliseconds or ISO 8601"),
        (HEAD + "5,cats,7,,get\n", "no line that could be read. 1 malformed lines were left out, the first: line 2"),
        ("\0" * 5_000, "has no column 'timestamp'; it has \0"),
        ("x" * 200_000, "log.csv, line 1: field larger than field limit (131072)"),
        (HEAD + "x" * 200_000 + ",ijp,7,,get\n", "log.csv, line 2: field larger than field limit (131072)"),
        ("user_id,timestamp,cache_type,item_id,operation\n7\n", "'' is no timestamp"),
        (HEAD.replace("\n", "\r") + "5,ijp,7,,get\r", "'timestamp' is no timestamp"),
        (HEAD + "5,ijp,7,,get\n99999999999,ijp,7,,get\n", "line 3: 1,157,407 days after the first line; at most 1,000"),
        (HEAD + "5000,ijp,7,,get\n5,ijp,7,,get\n", "line 3: 4,995 s older than a line before it. Sort the file"),
    ],
)
def test_a_wrong_file_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    code = main(["replay", str(write(tmp_path, text)), "--report", str(tmp_path)])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error) < 1_000
    assert error.count("\n") == 1


def test_a_log_of_too_many_users_is_refused_where_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.replay.MAX_USERS", 2)
    log = AccessLog(write(tmp_path, HEAD + "5,ijp,7,,get\n5,ijp,8,,get\n5,ijp,9,,get\n"))

    with pytest.raises(ScenarioError, match="more than 2 users, or companies"):
        replay.run(log, SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "log.csv: No such file or directory"),
        (["--columns", "when=time"], "write OURS=THEIRS"),
        (["--warm-up", "soon"], "'soon' is no duration"),
        (["--max-malformed", "-1"], "--max-malformed is -1"),
    ],
)
def test_a_wrong_option_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["replay", str(tmp_path / "log.csv"), "--report", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_malformed_lines_are_counted_and_limited(tmp_path: Path) -> None:
    bad = [
        "5,match,7,x,get",
        f"5,match,7,{'1' * 200_000},get",
        "5,match,7",
        "5,session,7,,invalidate",
        "5,match,,,get",
        "5,match,7,,get",
        "5,company,7,,get",
        "5,ijp,99999999999999999999,,get",
        "late,ijp,7,,get",
    ]
    file = write(tmp_path, HEAD + "4,match,7,0,get\n" + "\n".join(bad) + "\n6,match,7,1,get\n")
    log = AccessLog(file)

    assert len(groups(log)) == 2
    assert log.malformed == len(bad)
    assert log.examples[0].startswith("line 3: ")
    with pytest.raises(ScenarioError, match="more than 4 malformed lines; --max-malformed allows more"):
        groups(file, max_malformed=4)


def test_bytes_that_are_no_text_spoil_their_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes(HEAD.encode() + b"4,match,7,0,get\n5,match,\xff,1,get\n6,match,7,1,get\n")
    log = AccessLog(file)

    assert [group.time_s for group in groups(log)] == [4, 6]
    assert (log.malformed, log.examples[0][:8]) == (1, "line 3: ")

    file.write_bytes(HEAD.encode("utf-16") + file.read_bytes())
    with pytest.raises(ScenarioError, match=r"log\.csv is no text in UTF-8\."):
        groups(file)


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ("1767571200", ["1767571200250", "inf", "nan", "2026-01-05T00:00:00Z"]),
        ("1767571200250", ["1767571200", "1767571200250000", "-1", "x"]),
        ("2026-01-05T00:00:00Z", ["1767571200", "noon"]),
    ],
)
def test_a_time_in_another_unit_than_the_first_is_malformed(tmp_path: Path, first: str, others: list[str]) -> None:
    lines = [f"{time},ijp,7,,get\n" for time in (first, *others, first)]
    log = AccessLog(write(tmp_path, HEAD + "".join(lines)))

    assert [group.time_s for group in groups(log)] == pytest.approx([1767571200, 1767571200], abs=1)
    assert log.malformed == len(others)
    assert others[0] in log.examples[0]


def test_a_little_late_counts_as_now(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + "100,ijp,7,,get\n130,ijp,7,,get\n110,ijp,7,,get\n")

    assert replay.run(AccessLog(file), SMALL, warm_up_s=0).counts.types["ijp"].total() == (2, 3)


def test_a_file_that_ends_in_the_middle_leaves_a_partial_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = gzip.compress("".join(recorded()).encode())
    file = tmp_path / "log.csv.gz"
    file.write_bytes(whole[: len(whole) // 2])

    code = main(["replay", str(file), "--report", str(tmp_path / "report")])

    assert code == 1
    assert "log.csv.gz ends in the middle, behind line " in capsys.readouterr().err
    document = json.loads((tmp_path / "report/verdict.json").read_text())
    assert document["is_partial"]
    assert document["classes"][0]["lookups"] > 0


def test_what_fills_the_empty_cache_is_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f"{hour * 3600 + user},ijp,{user},,get\n" for hour in range(36) for user in range(40))
    file = write(tmp_path, HEAD + lines)

    codes = [main(["replay", str(file), "--report", str(tmp_path), *more]) for more in ([], ["--warm-up", "2h"])]

    assert codes == [5, 5]  # the other cache types have no lookups
    first, second = capsys.readouterr().out.split("Scenario")[1:]
    assert "ijp: nothing to judge: the log has no ijp lookups behind the first 720 h" in first
    assert "ijp 95 % 100.00 %" in " ".join(second.split())


def test_logs_in_order_are_read_fast_and_alike(tmp_path: Path) -> None:
    """The short cut for list views gives what the csv module gives."""
    text = "".join(recorded())
    quoted = write(tmp_path, text.replace(",match,", ',"match",'), "quoted.csv")

    assert groups(write(tmp_path, text)) == groups(quoted)


def test_every_operation_of_the_log_is_known() -> None:
    for cache_type, operations in loglines.OPERATIONS.items():
        for operation in operations:
            assert operation == "invalidate" or (cache_type, operation) in {*replay.CALLS, ("match", "set")}
