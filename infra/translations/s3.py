"""Buckets: each of their settings is a resource of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infra.translations.base import Call, Translation, pascal, tag_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.translations.base import Inputs


def _put(operation: str, build: Callable[[Inputs], dict[str, Any]]) -> Translation:
    """A setting of a bucket: one call that replaces it."""
    return Translation(
        lambda inputs: [Call("s3", operation, {"Bucket": inputs["bucket"], **build(inputs)})],
        frozenset({"bucket"}),
        operation,
    )


def _bucket(inputs: Inputs) -> list[Call]:
    name = inputs["bucket"]
    made = [Call("s3", "CreateBucket", {"Bucket": name})]
    if inputs.get("tags"):
        made.append(Call("s3", "PutBucketTagging", {"Bucket": name, "Tagging": {"TagSet": tag_list(inputs["tags"])}}))
    return made


def _lifecycle(inputs: Inputs) -> dict[str, Any]:
    rules = []
    for rule in inputs["rules"]:
        made = pascal(rule)
        made["ID"] = made.pop("Id")
        rules.append(made)
    return {"LifecycleConfiguration": {"Rules": rules}}


def _encryption(inputs: Inputs) -> dict[str, Any]:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"]
            }
        }
        for rule in inputs["rules"]
    ]
    return {"ServerSideEncryptionConfiguration": {"Rules": rules}}


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:s3/bucket:Bucket": Translation(_bucket, frozenset({"bucket"}), None),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _put(
        "PutBucketLifecycleConfiguration", _lifecycle
    ),
    "aws:s3/bucketLogging:BucketLogging": _put(
        "PutBucketLogging",
        lambda inputs: {
            "BucketLoggingStatus": {
                "LoggingEnabled": {"TargetBucket": inputs["targetBucket"], "TargetPrefix": inputs["targetPrefix"]}
            }
        },
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _put(
        "PutBucketOwnershipControls", lambda inputs: {"OwnershipControls": {"Rules": [pascal(inputs["rule"])]}}
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _put("PutBucketPolicy", lambda inputs: {"Policy": inputs["policy"]}),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _put(
        "PutPublicAccessBlock",
        lambda inputs: {
            "PublicAccessBlockConfiguration": pascal({k: v for k, v in inputs.items() if k not in ("bucket", "region")})
        },
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _put(
        "PutBucketEncryption", _encryption
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _put(
        "PutBucketVersioning",
        lambda inputs: {"VersioningConfiguration": {"Status": inputs["versioningConfiguration"]["status"]}},
    ),
}
