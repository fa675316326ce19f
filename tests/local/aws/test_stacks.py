"""The program itself on the local provider: what boto3 sees afterwards is what was declared."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
import redis
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone

from cache import CacheService
from cache.elasticache import IamCredentials
from cache.nodes import NODE_TYPES
from infra import access
from local.aws.cloud import RefusedError
from scripts import cache_report
from tests.infra import stack
from tests.local.aws.conftest import ACCESS_KEYS, running
from tests.local.aws.engine import Engine, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from infra.translations.base import Call
    from tests.infra.stack import Declared
    from tests.local.aws.conftest import LocalAws


def administrator(aws: LocalAws, number: int = 0) -> Any:
    """The local server itself, behind its front."""
    (group,) = aws.caches._groups.values()
    return group._administrator(group.ports[number])


def seen(aws: LocalAws) -> dict[str, Any]:
    """What a stack consists of, as boto3 tells it; AWS's own things left out."""
    cloudwatch, elasticache = aws.client("cloudwatch"), aws.client("elasticache")
    return {
        "alarms": {a["AlarmName"]: a["Threshold"] for a in cloudwatch.describe_alarms(MaxRecords=100)["MetricAlarms"]},
        "dashboards": [d["DashboardName"] for d in cloudwatch.list_dashboards()["DashboardEntries"]],
        "groups": {
            g["ReplicationGroupId"]: (g["CacheNodeType"], len(g["MemberClusters"]), len(g["NodeGroups"]))
            for g in elasticache.describe_replication_groups()["ReplicationGroups"]
        },
        "users": {
            u["UserId"]: u["AccessString"] for u in elasticache.describe_users()["Users"] if u["UserId"] != "default"
        },
        "subnet groups": [
            g["CacheSubnetGroupName"] for g in elasticache.describe_cache_subnet_groups()["CacheSubnetGroups"]
        ],
        "buckets": sorted(bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]),
        "distributions": aws.client("cloudfront").list_distributions()["DistributionList"]["Quantity"],
        "log groups": {
            g["logGroupName"]: g["retentionInDays"] for g in aws.client("logs").describe_log_groups()["logGroups"]
        },
        "roles": sorted(role["RoleName"] for role in aws.client("iam").list_roles()["Roles"]),
        "functions": [f["FunctionName"] for f in aws.client("lambda").list_functions()["Functions"]],
        "topics": len(aws.client("sns").list_topics()["Topics"]),
        "networks": [v["CidrBlock"] for v in aws.client("ec2").describe_vpcs()["Vpcs"] if not v["IsDefault"]],
        "schedules": [rule["Name"] for rule in aws.client("events").list_rules()["Rules"]],
    }


def declared_as_seen(declared: Declared) -> dict[str, Any]:
    """The same, from what the program declares."""

    def names(type_: str, key: str = "name") -> list[str]:
        return sorted(resource.inputs[key] for resource in declared.of(type_))

    group = declared.one("ReplicationGroup").inputs
    shards, replicas = group.get("numNodeGroups", 1), group.get("replicasPerNodeGroup", 0)
    members = shards * (replicas + 1) if "numNodeGroups" in group else group["numCacheClusters"]
    return {
        "alarms": {alarm.inputs["name"]: alarm.inputs["threshold"] for alarm in declared.of("MetricAlarm")},
        "dashboards": names("aws:cloudwatch/dashboard:Dashboard", "dashboardName"),
        "groups": {group["replicationGroupId"]: (group["nodeType"], members, shards)},
        "users": {
            user.inputs["userId"]: user.inputs["accessString"] for user in declared.of("aws:elasticache/user:User")
        },
        "subnet groups": names("SubnetGroup"),
        "buckets": names("Bucket", "bucket"),
        "distributions": 1,
        "log groups": {log.inputs["name"]: log.inputs["retentionInDays"] for log in declared.of("LogGroup")},
        "roles": names("Role"),
        "functions": names("Function"),
        "topics": len(declared.of("Topic")),
        "networks": names("Vpc", "cidrBlock"),
        "schedules": names("EventRule"),
    }


NOTHING = {
    "alarms": {}, "dashboards": [], "groups": {}, "users": {}, "subnet groups": [], "buckets": [], "distributions": 0,
    "log groups": {}, "roles": [], "functions": [], "topics": 0, "networks": [], "schedules": [],
}  # fmt: skip


@pytest.mark.parametrize("name", stack.STACKS)
def test_a_stack_comes_up_as_declared_stays_and_goes(
    name: str,
    local_aws: LocalAws,
    engine_of: Callable[[str], Engine],
    stacks: dict[str, Declared],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = engine_of(name)

    assert {step for step, _ in engine.preview()} == {"create"}
    assert seen(local_aws) == NOTHING
    engine.up({"protectData": False})
    assert seen(local_aws) == declared_as_seen(stacks[name])
    assert_servers_are_as_declared(local_aws, stacks[name])
    monkeypatch.setattr(cache_report, "_TIMEOUT_S", 60)
    with monkeypatch.context() as environment:
        for variable, value in session_keys().items():
            environment.setenv(variable, value)
        assert cache_report.main(["--json", "--outputs", str(written_outputs(local_aws, engine, tmp_path))]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["role"], report["shards"]) == ("replica", stacks[name].settings.shards)
    engine.up({"protectData": False})
    assert engine.steps == []
    assert engine.refresh() == {}
    deliver_late(local_aws, logs := ["one", "two"])
    engine.destroy()

    assert logs == []
    assert seen(local_aws) == NOTHING
    assert len(local_aws.resources) == 0
    assert local_aws.caches.endpoints() == {}


def deliver_late(aws: LocalAws, logs: list[str]) -> None:
    """Puts the logs, one at a time, into the bucket for logs that is just about to be deleted as empty."""
    s3 = aws.client("s3")

    def deliver(params: dict[str, Any], **_: Any) -> None:
        if logs and "static-logs" in params["Bucket"]:
            s3.put_object(Bucket=params["Bucket"], Key=logs.pop(), Body=b"")

    s3.meta.events.register("provide-client-params.s3.DeleteBucket", deliver)


def written_outputs(aws: LocalAws, engine: Engine, folder: Path) -> Path:
    """What `python -m local outputs --json` prints, as far as scripts read it."""
    group = aws.caches.endpoints()[engine.outputs["replication_group_id"]]
    file = folder / "outputs.json"
    file.write_text(json.dumps(engine.outputs | {"local": group}))
    return file


def session_keys() -> dict[str, str]:
    ((key, secret),) = ACCESS_KEYS.items()
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}


def let_in(aws: LocalAws, engine: Engine, region: str) -> set[tuple[str, int]]:
    """The groups and ports that the cache's security group is open to."""
    asked = [{"Name": "group-id", "Values": [engine.outputs["cache_security_group_id"]]}]
    rules = aws.cloud.client("ec2", region).describe_security_group_rules(Filters=asked)["SecurityGroupRules"]
    return {(rule["ReferencedGroupInfo"]["GroupId"], rule["FromPort"]) for rule in rules if not rule["IsEgress"]}


def test_every_setting_is_taken_and_a_network_of_ones_own(
    local_aws: LocalAws, engine_of: Callable[[str], Engine]
) -> None:
    engine, own = (
        engine_of("prod"),
        {"vpcId": "vpc-0123456789abcdef0", "subnetIds": ["subnet-0aaaaaaa", "subnet-0bbbbbbb"]},
    )

    engine.up({**stack.EVERY_OPTION, **own})

    assert engine.outputs["vpc_id"] == own["vpcId"]
    assert list(engine.outputs["subnet_ids"]) == own["subnetIds"]
    assert let_in(local_aws, engine, "eu-west-1") == {("sg-0123456789abcdef0", 6379)}
    assert engine.refresh() == {}


def test_subnets_lie_where_the_nodes_are_offered_and_stay_there(
    local_aws: LocalAws, engine_of: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def zones(*ids: str) -> None:
        made = [Zone(f"us-east-1{id_[-1]}", "us-east-1", id_) for id_ in ids]
        monkeypatch.setitem(RegionsAndZonesBackend.zones, "us-east-1", made)

    def subnets() -> set[str]:
        return {state.inputs["availabilityZone"] for state in engine.state.values() if state.type.endswith(":Subnet")}

    engine = engine_of("prod")
    zones("use1-az3", "use1-az4", "use1-az5", "use1-az6")
    engine.up()

    assert subnets() == {"us-east-1" + number for number in "45"}
    zones("use1-az5", "use1-az6")  # one is away
    engine.up()
    assert engine.steps == []
    assert subnets() == {"us-east-1" + number for number in "45"}


def assert_servers_are_as_declared(aws: LocalAws, declared: Declared) -> None:
    usable = declared.settings.node.usable_bytes
    with administrator(aws) as client:
        assert int(client.config_get("maxmemory")["maxmemory"]) == usable
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "volatile-lru"
        assert client.config_get("hash-max-listpack-entries")["hash-max-listpack-entries"] == "512"
        replicas = (
            declared.settings.replicas_per_shard
            if declared.settings.cluster_mode
            else declared.settings.cache_nodes - 1
        )
        assert client.info("replication")["connected_slaves"] == replicas
        users = {user.inputs["userName"] for user in declared.of("aws:elasticache/user:User")}
        assert set(client.acl_users()) == {*users, "default", "local-administrator"}
        assert "off" in client.acl_getuser("default")["flags"]


@pytest.fixture(scope="module")
def prod_is_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalAws, Engine]]:
    """`prod` on the local provider; whoever changes it calls `up` first."""
    with (
        running(tmp_path_factory.mktemp("aws")) as aws,
        contextlib.closing(Engine(aws.port, "prod")) as engine,
    ):
        engine.up()
        yield aws, engine


def test_a_node_type_changes_in_place_and_the_data_stays(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    port = engine.outputs["port"]
    with administrator(aws) as client:
        client.set("ijp:1", "kept")

    changes = {"cacheNodeType": "cache.m6g.large"}
    assert ("update", "cache") in engine.preview(changes)
    assert engine.previewed["port"] == port
    engine.up(changes)

    large = NODE_TYPES["cache.m6g.large"]
    assert {step for step, _ in engine.steps} <= {"update", "create", "delete", "deleted"}
    assert engine.of("ReplicationGroup").id == "roleferry-prod-cache"
    assert seen(aws)["groups"] == {"roleferry-prod-cache": ("cache.m6g.large", 2, 1)}
    assert engine.outputs["port"] == port
    with administrator(aws) as client:
        assert client.get("ijp:1") == "kept"
        assert int(client.config_get("maxmemory")["maxmemory"]) == large.usable_bytes


def test_a_node_more_and_a_parameter_changed_reach_the_servers(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    with administrator(aws) as client:
        client.set("ijp:1", "kept")

    engine.up({"cacheNodes": 3, "parameterOverrides": {"timeout": "300"}})

    with administrator(aws, 2) as third:
        assert third.info("replication")["master_link_status"] == "up"
        assert third.get("ijp:1") == "kept"
        assert third.config_get("timeout")["timeout"] == "300"
    engine.up()
    with administrator(aws) as client:
        assert client.info("replication")["connected_slaves"] <= 2
        assert client.config_get("timeout")["timeout"] == "0"


def test_data_that_does_not_fit_stops_the_change(
    prod_is_up: tuple[LocalAws, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine = prod_is_up
    engine.up()
    tiny = NODE_TYPES["cache.m6g.large"]
    monkeypatch.setitem(NODE_TYPES, tiny.name, type(tiny)(tiny.name, 1_000, 2, burstable=False, usd_per_hour=1))

    with pytest.raises(EngineError, match=r"nodeType is 'cache.m6g.large': the data, [\d,]+ bytes, does not fit"):
        engine.up({"cacheNodeType": tiny.name})
    monkeypatch.undo()
    engine.up()

    assert engine.of("ReplicationGroup").inputs["nodeType"] == "cache.t4g.medium"
    assert engine.refresh() == {}


def test_the_application_is_let_in_by_its_own_groups(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    assert let_in(aws, engine, "us-east-1") == set()

    engine.up({"applicationSecurityGroupIds": ["sg-0aaaaaaa", "sg-0bbbbbbb"]})

    assert let_in(aws, engine, "us-east-1") == {("sg-0aaaaaaa", 6379), ("sg-0bbbbbbb", 6379)}
    assert engine.refresh() == {}
    engine.up({"applicationSecurityGroupIds": ["sg-0bbbbbbb"]})
    assert let_in(aws, engine, "us-east-1") == {("sg-0bbbbbbb", 6379)}


def test_who_stays_subscribed_is_told_when_another_goes(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    first, second = ({"protocol": "https", "endpoint": f"https://{name}.example"} for name in ("first", "second"))
    engine.up({"alarmSubscriptions": {"first": first, "second": second}})

    engine.up({"alarmSubscriptions": {"second": second}})

    told = aws.client("sns").list_subscriptions()["Subscriptions"]
    assert [subscription["Endpoint"] for subscription in told] == [second["endpoint"]]
    assert engine.refresh() == {}


def test_what_cannot_change_in_place_is_replaced(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up({"alarmSubscriptions": {"ops": {"protocol": "https", "endpoint": "https://first.example"}}})

    engine.up({"alarmSubscriptions": {"ops": {"protocol": "https", "endpoint": "https://second.example"}}})

    assert engine.steps == [("replace", "alarms-ops"), ("deleted", "alarms-ops")]
    told = aws.client("sns").list_subscriptions()["Subscriptions"]
    assert [subscription["Endpoint"] for subscription in told] == ["https://second.example"]


def test_a_replaced_alarm_that_keeps_its_name_is_still_there(prod_is_up: tuple[LocalAws, Engine]) -> None:
    _, engine = prod_is_up
    engine.up()

    engine.up({"alarmActions": False})

    assert ("replace", "roleferry-prod-match-hit-rate") in engine.steps
    assert engine.refresh() == {}
    assert engine.of("CompositeAlarm", "roleferry-prod-match-hit-rate").inputs["actionsEnabled"] is False


def test_an_engine_of_another_family_gets_its_parameters_before_the_old_ones_go(
    prod_is_up: tuple[LocalAws, Engine],
) -> None:
    _, engine = prod_is_up
    engine.up({"protectData": False})
    older = {"engineVersion": "8.2", "protectData": False}
    engine.up(older)
    assert ("replace", "cache") in engine.steps, "there is no way back in place"
    assert engine.of("ReplicationGroup").inputs["parameterGroupName"] == "roleferry-prod-valkey8"

    engine.up()

    assert [step for step, name in engine.steps if name == "cache"] == ["replace", "update", "deleted"]
    assert engine.of("ReplicationGroup").inputs["parameterGroupName"] == "roleferry-prod-valkey9"
    assert engine.of("ParameterGroup").inputs["family"] == "valkey9"


def test_a_cache_of_the_other_mode_is_a_new_one(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    cluster = {"clusterMode": True, "cacheNodeType": "cache.m6g.large", "cacheNodes": None, "shards": 2}
    with pytest.raises(EngineError, match=r"cache: it is protected, and .*its trigger would replace it"):
        engine.preview(cluster)
    engine.up({"protectData": False})

    engine.up(cluster | {"protectData": False})

    assert seen(aws)["groups"] == {"roleferry-prod-cache": ("cache.m6g.large", 4, 2)}
    engine.up({"protectData": False})
    assert seen(aws)["groups"] == {"roleferry-prod-cache": ("cache.t4g.medium", 2, 1)}


def test_the_cache_cannot_move_to_another_network(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    group = engine.of("SecurityGroup")

    with pytest.raises(EngineError, match="network: it is protected, and cidrBlock would replace it"):
        engine.up({"vpcCidr": "10.41.0.0/16"})
    with pytest.raises(RefusedError, match="is used by roleferry-prod-cache"):
        aws.resources.delete(group.type, group.id, {})

    assert seen(aws)["networks"] == ["10.40.0.0/16"]
    assert engine.refresh() == {}


def test_drift_is_found_and_mended(prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    cloudwatch = aws.client("cloudwatch")
    alarm = cloudwatch.describe_alarms(AlarmNames=["roleferry-prod-match-floor"])["MetricAlarms"][0]
    kept = ("AlarmName", "Metrics", "ComparisonOperator", "EvaluationPeriods", "DatapointsToAlarm", "TreatMissingData")
    cloudwatch.put_metric_alarm(
        **{key: alarm[key] for key in (*kept, "AlarmDescription", "ActionsEnabled", "AlarmActions", "OKActions")},
        Threshold=1.0,
    )
    cloudwatch.delete_dashboards(DashboardNames=["roleferry-prod-cache"])
    aws.client("iam").delete_role_policy(RoleName="roleferry-prod-flow", PolicyName="roleferry-prod-flow")
    (group,) = aws.caches._groups.values()
    group.stop()  # as if the machine had lost it

    drifted = engine.refresh()

    assert drifted == {
        "roleferry-prod-match-floor": ["threshold"],
        "dashboard": ["gone"],
        "network-flow": ["gone"],
        "cache": ["gone"],
    }
    engine.up()
    assert seen(aws)["alarms"]["roleferry-prod-match-floor"] == pytest.approx(70)
    assert seen(aws)["dashboards"] == ["roleferry-prod-cache"]
    assert administrator(aws).ping()
    assert engine.refresh() == {}


def test_the_next_up_mends_what_a_failure_left(
    prod_is_up: tuple[LocalAws, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, engine = prod_is_up
    engine.up({"protectData": False})  # else the buckets keep their logs
    engine.destroy()
    send = aws.cloud.send

    def fails(call: Call, region: str) -> Any:
        if call.operation in ("CreateReplicationGroup", "EnableKeyRotation"):
            raise RefusedError(f"{call.operation}: throttled")
        return send(call, region)

    monkeypatch.setattr(aws.cloud, "send", fails)
    with pytest.raises(EngineError, match="throttled"):
        engine.up()
    monkeypatch.undo()
    assert {state.id for state in engine.state.values()} == {record.id for record in aws.resources._records.values()}
    engine.up()

    assert seen(aws) == declared_as_seen(stack.declare("prod"))
    assert engine.refresh() == {}


@pytest.mark.parametrize("layout", ["hash", "keys"])
def test_the_application_signs_in_by_iam_and_does_what_it_may(layout: str, prod_is_up: tuple[LocalAws, Engine]) -> None:
    aws, engine = prod_is_up
    engine.up()
    user, group = engine.outputs["app_user_name"], engine.outputs["replication_group_id"]
    url = f"rediss://127.0.0.1:{engine.outputs['port']}?ssl_ca_certs={aws.caches.endpoints()[group]['ca_file']}"
    credentials = IamCredentials(user, group, "us-east-1", session=session_with_keys())
    with administrator(aws) as server:
        server.config_resetstat()

    with contextlib.closing(CacheService.from_url(url, credential_provider=credentials)) as cache:
        # A busy machine exceeds the library's deadline now and then, which costs a lookup and no more.
        while cache.get_match_score(1, 2) != {"score": 2}:
            cache.match_scores(1, [2, 3], lambda missing: {job: {"score": job} for job in missing})
        while not (cache.invalidate_user_matches(1) and cache.invalidate_job_matches(2)):
            pass
        cache.update_ijp(1, {"titles": ["engineer"]})
        cache.get_company_enrichment(7, lambda: {"name": "x"})
        cache.start_session(1, {"token": "x"})
        cache.get_session(1)
        cache.end_session(1)

    with administrator(aws) as server:
        commands = server.info("commandstats")
        assert not [name for name, counted in commands.items() if counted["rejected_calls"]]
        # Each of them is used, by tests/behaviour/test_access.py; the server must permit no other.
        permitted = {word[1:] for word in server.acl_getuser(user)["commands"] if word.startswith("+")}
        assert permitted == set(access.APPLICATION_COMMANDS)
    client: Any = redis.Redis.from_url(url, credential_provider=credentials)
    with contextlib.closing(client):
        for refused in (("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "report:7")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*refused)


def session_with_keys() -> Any:
    made = botocore.session.Session()
    ((key, secret),) = ACCESS_KEYS.items()
    made.set_credentials(key, secret)
    return made
