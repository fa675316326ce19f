"""upload_assets against moto's S3 and CloudFront."""

from __future__ import annotations

import gzip
import json
import os
import random
import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import boto3
import pytest
from moto import mock_aws

from scripts import common, upload_assets
from scripts.upload_assets import File
from tests.aws import stubbed, with_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "roleferry-prod-static-123456789012"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with_keys(monkeypatch)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def distribution(s3: Any) -> str:
    made = boto3.client("cloudfront", region_name="us-east-1").create_distribution(
        DistributionConfig={
            "CallerReference": "1",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [{"Id": "b", "DomainName": "b.s3.amazonaws.com"}]},
            "DefaultCacheBehavior": {"TargetOriginId": "b", "ViewerProtocolPolicy": "https-only"},
        }
    )
    return str(made["Distribution"]["Id"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "dist"
    for name, text in {
        "index.html": "<script src=assets/app.3f2a9c1b.js>",
        "über uns.html": "we",
        "assets/app.3f2a9c1b.js": "run()",
        "assets/logo-DiwrgTda.svg": "<svg/>",
        ".DS_Store": "no",
        ".well-known/security.txt": "Contact: …",
    }.items():
        path = built / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return built


def run(folder: Path, distribution: str, *more: str) -> int:
    return upload_assets.main([str(folder), "--bucket", BUCKET, "--distribution", distribution, "--json", *more])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def invalidated(distribution: str) -> list[list[str]]:
    cloudfront = boto3.client("cloudfront", region_name="us-east-1")
    listed = cloudfront.list_invalidations(DistributionId=distribution)["InvalidationList"].get("Items", [])
    return [
        cloudfront.get_invalidation(DistributionId=distribution, Id=one["Id"])["Invalidation"]["InvalidationBatch"][
            "Paths"
        ]["Items"]
        for one in listed
    ]


def test_first_upload_sends_all_with_type_and_cache_control(
    s3: Any, distribution: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, distribution) == 0

    done = printed(capsys)
    # Pages after what they refer to.
    assert done["uploaded"] == [
        "assets/app.3f2a9c1b.js", "assets/logo-DiwrgTda.svg", ".well-known/security.txt", "index.html", "über uns.html",
    ]  # fmt: skip
    script = s3.head_object(Bucket=BUCKET, Key="assets/app.3f2a9c1b.js")
    assert script["CacheControl"] == "public, max-age=604800, immutable"
    assert script["ContentType"] == "text/javascript; charset=utf-8"
    assert s3.head_object(Bucket=BUCKET, Key="assets/logo-DiwrgTda.svg")["ContentType"] == "image/svg+xml"
    assert s3.head_object(Bucket=BUCKET, Key="index.html")["CacheControl"] == "public, max-age=60"
    assert done["invalidated"] == [] == invalidated(distribution)


def test_second_upload_sends_what_changed_and_invalidates_just_that(
    s3: Any, distribution: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, distribution)
    capsys.readouterr()
    (folder / "index.html").write_text("<script src=assets/app.00c0ffee.js>")
    (folder / "über uns.html").write_text("we two")
    (folder / "assets/app.3f2a9c1b.js").rename(folder / "assets/app.00c0ffee.js")

    run(folder, distribution)

    done = printed(capsys)
    assert done["uploaded"] == ["assets/app.00c0ffee.js", "index.html", "über uns.html"]
    assert done["unchanged"] == 2
    assert done["kept_though_not_in_the_folder"] == ["assets/app.3f2a9c1b.js"]
    assert [sorted(paths) for paths in invalidated(distribution)] == [["/", "/%C3%BCber%20uns.html", "/index.html"]]
    run(folder, distribution)
    assert printed(capsys)["uploaded"] == []
    assert len(invalidated(distribution)) == 1


def test_delete_is_asked_for(s3: Any, distribution: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s3.put_object(Bucket=BUCKET, Key="old.html", Body=b"old")

    run(folder, distribution, "--delete")

    assert printed(capsys)["deleted"] == ["old.html"]
    assert "old.html" not in {one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert invalidated(distribution) == [["/old.html"]]


def test_more_than_one_call_takes_is_deleted_in_several_and_invalidated_as_a_whole() -> None:
    """Checked by botocore's model of each service, and by no bucket of thousands of files."""
    keys = tuple(f"{number}.html" for number in range(3_001))
    with stubbed("s3") as (client, answers):
        for start, end in ((0, 1_000), (1_000, 2_000), (2_000, 3_000), (3_000, 3_001)):
            asked = {"Objects": [{"Key": key} for key in keys[start:end]], "Quiet": True}
            answers.add_response("delete_objects", {}, {"Bucket": BUCKET, "Delete": asked})
        upload_assets._delete(client, BUCKET, keys)

    with stubbed("cloudfront") as (client, answers):
        for stale, items in ((keys[:3_000], [f"/{key}" for key in keys[:3_000]]), (keys, ["/*"])):
            paths = {"Quantity": len(items), "Items": items}
            batch = {"Paths": paths, "CallerReference": "1"}
            made = {"Id": "I1", "Status": "InProgress", "CreateTime": datetime.now(UTC), "InvalidationBatch": batch}
            expected = {"DistributionId": "E1", "InvalidationBatch": {"Paths": paths, "CallerReference": ANY}}
            answers.add_response("create_invalidation", {"Invalidation": made}, expected)
            assert upload_assets.invalidate(client, "E1", stale) == "I1"


def test_what_could_not_be_deleted_is_told() -> None:
    with stubbed("s3") as (client, answers):
        answers.add_response("delete_objects", {"Errors": [{"Key": "old.html", "Code": "AccessDenied"}]})

        with pytest.raises(common.ScriptError, match=r"^1 file\(s\) were not deleted; old.html: AccessDenied\.$"):
            upload_assets._delete(client, BUCKET, ("old.html", "older.html"))


def test_outputs_name_bucket_and_distribution_and_lines_say_what_was_done(
    s3: Any, distribution: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({"static_bucket": BUCKET, "distribution_id": distribution, "region": "us-east-1"}))
    arguments = [str(folder), "--outputs", str(outputs)]
    s3.put_object(Bucket=BUCKET, Key="old.html", Body=b"old")
    s3.put_object(Bucket=BUCKET, Key="index.html", Body=b"old")

    assert upload_assets.main([*arguments, "--dry-run", "--delete"]) == 0
    done = f"uploaded 5 file(s) to {BUCKET}, 0 unchanged, 1 deleted, 2 path(s) invalidated"
    assert capsys.readouterr().out.splitlines()[-2:] == ["delete  old.html", f"would have {done}"]

    assert upload_assets.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:1] + lines[-2:] == [
        "upload  assets/app.3f2a9c1b.js",
        "keep    old.html",
        f"uploaded 5 file(s) to {BUCKET}, 0 unchanged, 0 deleted, 1 path(s) invalidated",
    ]


def test_dry_run_changes_nothing(s3: Any, distribution: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, distribution, "--dry-run", "--delete") == 0

    assert len(printed(capsys)["uploaded"]) == 5
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_interrupted_upload_never_has_a_page_without_its_files(
    s3: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload of one fingerprinted file fails: no page was sent."""
    put = upload_assets._put

    def failing(client: Any, bucket: str, file: File) -> None:
        if file.key.endswith(".svg"):
            raise KeyboardInterrupt
        put(client, bucket, file)

    monkeypatch.setattr(upload_assets, "_put", failing)
    planned = upload_assets.plan(upload_assets.files(folder), {}, delete=False)

    with pytest.raises(KeyboardInterrupt):
        upload_assets.upload(s3, BUCKET, planned, progress=lambda _what, _share: None)

    stored = {one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}
    assert stored <= {"assets/app.3f2a9c1b.js"}


def test_large_texts_are_stored_compressed(tmp_path: Path) -> None:
    large, small = tmp_path / "data-A1b2C3d4.json", tmp_path / "small.json"
    large.write_bytes(b"[0]" * 4_000_000)
    small.write_bytes(b"[0]" * 1_000)

    body, headers = File("assets/data-A1b2C3d4.json", large).stored()

    assert headers["ContentEncoding"] == "gzip"
    assert gzip.decompress(body) == large.read_bytes()
    assert File("assets/data-A1b2C3d4.json", large).etag == File("assets/data-A1b2C3d4.json", large).etag
    assert "ContentEncoding" not in File("small.json", small).stored()[1]


@pytest.mark.parametrize(
    "name",
    [
        *("app.js", "logo-november.png", "photo-Portrait.jpg", "logo-version2.png", "logo-wide_v20.png"),
        *("hero-dark-bg2.png", "hero-large-2x.png", "icon-image-12.png", "roboto-400italic.woff2"),
        *("banner-1024x768.png", "report-20261124.pdf", "report-2026-11-24.pdf", "inter-v12-latin-700.woff2"),
        *("jquery-3.7.1.min.js", "vendor.bundle.js", "react-dom.production.min.js", "app.unminified.js"),
    ],
)
def test_file_below_assets_without_a_fingerprint_is_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "assets" / name).write_text("x")

    assert run(folder, "E1") == 2

    assert f"assets/{name}" in capsys.readouterr().err
    assert upload_assets.files(folder, trust_names=True)


def test_name_that_s3_cannot_take_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / os.fsdecode(b"\xfcber.html")).write_text("we")  # Latin-1, as of an old archive

    assert run(folder, "E1") == 2

    told = r"the name of \xfcber.html is not UTF-8, as S3 wants it; rename the file."
    assert capsys.readouterr().err == f"upload_assets: {told}\n"


@pytest.mark.parametrize(
    "name",
    [
        *("app.3f2a9c1b.js", "chunk.abcdef12.js.map", "main.3f2a9c1b7d2f4e5a6b7c.js.LICENSE.txt"),
        *("app-DiwrgTda.css", "index-BX-3lZ9_.js", "index--X3lZ9_a.js", "index-X3lZ9_a-.js", "chunk-DN5WNGKO.js"),
    ],
)
def test_fingerprints_of_common_build_tools_are_known(name: str, folder: Path) -> None:
    (folder / "assets" / name).write_text("x")

    assert upload_assets.files(folder)


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [(string.ascii_letters + string.digits + "-_", 8), (string.digits + "abcdef", 8), (string.digits + "abcdef", 20)],
)
def test_hashes_are_told_from_words_but_for_a_few_that_look_like_some(alphabet: str, length: int) -> None:
    chosen = random.Random(1)
    names = [f"index-{''.join(chosen.choices(alphabet, k=length))}.js" for _ in range(10_000)]

    assert sum(not upload_assets._FINGERPRINT.search(name) for name in names) < 50


def test_wrong_usage_is_told_before_anything_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upload_assets.main([str(tmp_path / "none"), "--bucket", "b", "--distribution", "d"]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert upload_assets.main([str(tmp_path), "--bucket", "b", "--distribution", "d"]) == 2
    assert "has no files" in capsys.readouterr().err
    assert upload_assets.main([str(tmp_path), "--bucket", "b"]) == 2
    assert "--distribution" in capsys.readouterr().err
    (tmp_path / "outputs.json").write_text("[]")
    assert upload_assets.main([str(tmp_path), "--outputs", str(tmp_path / "outputs.json")]) == 2
    assert "pulumi stack output --json" in capsys.readouterr().err


def test_what_was_uploaded_before_an_error_is_told(
    s3: Any, distribution: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [str(folder), "--bucket", BUCKET, "--distribution"]
    assert upload_assets.main([*where, distribution]) == 0
    (folder / "index.html").write_text("new")

    assert upload_assets.main([*where, "NOWHERE"]) == 1

    assert capsys.readouterr().err.endswith("does not exist. All 1 file(s) were uploaded.\n")


def test_interrupted_upload_says_how_far_it_got(s3: Any, folder: Path) -> None:
    planned = upload_assets.plan(upload_assets.files(folder), {}, delete=False)

    def interrupt(_what: str, _share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as ended:
        upload_assets.upload(s3, BUCKET, planned, progress=interrupt)

    assert ended.value.__notes__ == [f"At least 1 of {len(planned.uploads)} file(s) were uploaded."]
