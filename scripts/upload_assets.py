"""Upload the static files: only what changed, each with its type and its Cache-Control, then one invalidation.

Files below assets/ must have a fingerprint in their names (app.3f2a9c1b.js, index-BX-3lZ9_.js): they are kept for a
week. Everything else is kept for a minute; of these, the paths whose content changed are invalidated. Fingerprinted
files go first and pages after them, so that no page names a file that is not there. It may be interrupted and run
again: what was left out is uploaded then, and a page that was not invalidated is renewed by itself within a minute.
CloudFront compresses files of up to 10 MB by itself; larger texts are stored compressed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from infra.static_site import ASSET_CACHE_CONTROL, ASSET_PATH, PAGE_CACHE_CONTROL
from loadtest import terminal
from scripts import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

_EXIT_CODES: Final = (
    "exit codes: 0 the bucket is as the folder; 1 an error; 2 wrong usage, or a name without fingerprint"
)
_ASSETS: Final = ASSET_PATH.strip("/*") + "/"
_DATE: Final = r"(19|20)\d\d(0\d|1[0-2])[0-3]\d"
# Also numbered ones, and sizes. Of 1,000 random hashes in base64 three or four look like that.
_WORDS: Final = r"[A-Z]?[a-z]{2,}([-_][a-z]{2,})*([-_]?v?\d+x?)?|\d+([x_-]\d+)+"
# Before the endings: hexadecimal of any length, as of webpack, or eight characters of url-safe base64, as of Rollup and
# Vite; esbuild's base32 is among it.
_FINGERPRINT: Final = re.compile(
    rf"[.-](?!{_DATE}\.)((?=[a-f]*\d)[0-9a-f]{{8,}}|(?!({_WORDS})\.)[\w-]{{8}})(\.[A-Za-z0-9]+)+$", re.ASCII
)
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/ServingCompressedFiles.html
_CLOUDFRONT_COMPRESSES: Final = 10_000_000
_COMPRESSIBLE: Final = re.compile(r"text/|application/(javascript|json|manifest\+json|wasm|xml)|image/svg")
# What S3 takes in one call, and CloudFront in one invalidation.
_DELETED_AT_ONCE: Final = 1_000
_INVALIDATED_AT_ONCE: Final = 3_000
_WORKERS: Final = 8

# The same types on every machine: the system's own tables are not read.
_TYPES: Final = mimetypes.MimeTypes(filenames=())
for _ending, _type in {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}.items():
    _TYPES.add_type(_type, _ending)


@dataclass(frozen=True)
class File:
    """One file of the folder, as it is stored."""

    key: str
    path: Path

    @property
    def fingerprinted(self) -> bool:
        return self.key.startswith(_ASSETS)

    @property
    def content_type(self) -> str:
        guessed = _TYPES.guess_type(self.key)[0] or "application/octet-stream"
        return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed

    def stored(self) -> tuple[bytes, dict[str, str]]:
        """The body, and what PutObject is told of it."""
        body = self.path.read_bytes()
        headers = {
            "ContentType": self.content_type,
            "CacheControl": ASSET_CACHE_CONTROL if self.fingerprinted else PAGE_CACHE_CONTROL,
        }
        if len(body) > _CLOUDFRONT_COMPRESSES and _COMPRESSIBLE.match(self.content_type):
            # Without a time in it, so that the same file gives the same bytes.
            body, headers["ContentEncoding"] = gzip.compress(body, mtime=0), "gzip"
        return body, headers

    @property
    def etag(self) -> str:
        """What S3 calls an object that was put in one piece."""
        return f'"{hashlib.md5(self.stored()[0], usedforsecurity=False).hexdigest()}"'


@dataclass(frozen=True)
class Plan:
    """`uploads` in the order in which they may be done, `extra` are keys of the bucket that the folder lacks."""

    uploads: tuple[File, ...]
    unchanged: int
    extra: tuple[str, ...]
    stale: tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("upload_assets", lambda: _upload(options))


def files(folder: Path, *, trust_names: bool = False) -> list[File]:
    """Every file of the folder but hidden ones. Raises UsageError if one below assets/ shows no fingerprint.

    With `trust_names` no fingerprint is judged. Raises UsageError also for a name that S3 cannot take.
    """
    if not folder.is_dir():
        raise common.UsageError(f"{folder} is no folder; give the folder that the build wrote.")
    found = [
        File(path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _hidden(path.relative_to(folder))
    ]
    if not found:
        raise common.UsageError(f"{folder} has no files; build first.")
    for file in found:
        try:
            file.key.encode()
        except UnicodeEncodeError:  # Python has a stand-in in the name for each byte that it cannot read
            shown = os.fsencode(file.key).decode(errors="backslashreplace")
            raise common.UsageError(f"the name of {shown} is not UTF-8, as S3 wants it; rename the file.") from None
    bare = [file.key for file in found if file.fingerprinted and not _FINGERPRINT.search(file.path.name)]
    if bare and not trust_names:
        raise common.UsageError(
            f"{len(bare)} file(s) below {_ASSETS} have no fingerprint, and would be kept for a week after a change: "
            f"{', '.join(bare[:5])}{' …' if len(bare) > 5 else ''}. Let the build name them by content, or move them; "
            "--trust-names if it did, and the hash looks like a word."
        )
    return found


def plan(found: list[File], in_bucket: Mapping[str, str], *, delete: bool) -> Plan:
    """What is to be done with a bucket that holds `in_bucket`, ETags by key."""
    uploads = [file for file in found if in_bucket.get(file.key) != file.etag]
    extra = tuple(sorted(in_bucket.keys() - {file.key for file in found}))
    replaced = [file.key for file in uploads if file.key in in_bucket and not file.fingerprinted]
    removed = [key for key in extra if delete and not key.startswith(_ASSETS)]
    return Plan(
        uploads=tuple(sorted(uploads, key=lambda file: not file.fingerprinted)),
        unchanged=len(found) - len(uploads),
        extra=extra,
        stale=tuple(sorted([*replaced, *removed])),
    )


def upload(s3: Any, bucket: str, planned: Plan, *, progress: Callable[[str, float], None]) -> None:
    """Fingerprinted files first; the first page is sent when all of them are there."""
    done = 0
    with common.saying(lambda: f"At least {done} of {len(planned.uploads)} file(s) were uploaded."):
        for fingerprinted in (True, False):
            batch = [file for file in planned.uploads if file.fingerprinted is fingerprinted]
            with ThreadPoolExecutor(_WORKERS) as pool:
                for _ in pool.map(lambda file: _put(s3, bucket, file), batch):
                    done += 1
                    progress("uploading", done / len(planned.uploads))


def invalidate(cloudfront: Any, distribution: str, stale: tuple[str, ...]) -> str | None:
    """One invalidation of these keys; its id, or None if there is nothing to invalidate."""
    if not stale:
        return None
    paths = [f"/{quote(key)}" for key in stale]
    if "/index.html" in paths:
        paths.append("/")
    if len(paths) > _INVALIDATED_AT_ONCE:
        paths = ["/*"]
    batch = {"Paths": {"Quantity": len(paths), "Items": paths}, "CallerReference": f"upload_assets-{time.time_ns()}"}
    made = cloudfront.create_invalidation(DistributionId=distribution, InvalidationBatch=batch)
    return str(made["Invalidation"]["Id"])


def _put(s3: Any, bucket: str, file: File) -> None:
    body, headers = file.stored()
    s3.put_object(Bucket=bucket, Key=file.key, Body=body, **headers)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".well-known" for part in path.parts)


def _upload(options: argparse.Namespace) -> int:
    bucket, distribution, region = _where(options)
    found = files(options.folder, trust_names=options.trust_names)
    s3 = common.aws("s3", region)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    planned = plan(
        found, {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", [])}, delete=options.delete
    )
    invalidation = None
    if not options.dry_run:
        cloudfront = common.aws("cloudfront", region)
        with terminal.progress() as progress:
            upload(s3, bucket, planned, progress=progress)
        with common.saying(lambda: f"All {len(planned.uploads)} file(s) were uploaded."):
            if options.delete:
                _delete(s3, bucket, planned.extra)
            invalidation = invalidate(cloudfront, distribution, planned.stale)
    _report(options, bucket, planned, invalidation)
    return 0


def _where(options: argparse.Namespace) -> tuple[str, str, str]:
    outputs = common.stack_outputs(options.outputs) if options.outputs else {}
    bucket = options.bucket or outputs.get("static_bucket")
    distribution = options.distribution or outputs.get("distribution_id")
    if not bucket or not distribution:
        raise common.UsageError("give --outputs with the stack's outputs, or both --bucket and --distribution.")
    return bucket, distribution, options.region or outputs.get("region") or "us-east-1"


def _delete(s3: Any, bucket: str, keys: tuple[str, ...]) -> None:
    for start in range(0, len(keys), _DELETED_AT_ONCE):
        objects = [{"Key": key} for key in keys[start : start + _DELETED_AT_ONCE]]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            error = answer["Errors"][0]
            raise common.ScriptError(
                f"{len(answer['Errors'])} file(s) were not deleted; {error['Key']}: {error['Code']}."
            )


def _report(options: argparse.Namespace, bucket: str, planned: Plan, invalidation: str | None) -> None:
    uploaded = [file.key for file in planned.uploads]
    if options.json:
        document = {
            "dry_run": options.dry_run,
            "bucket": bucket,
            "uploaded": uploaded,
            "unchanged": planned.unchanged,
            "deleted": list(planned.extra) if options.delete else [],
            "kept_though_not_in_the_folder": [] if options.delete else list(planned.extra),
            "invalidated": list(planned.stale),
            "invalidation": invalidation,
        }
        print(json.dumps(document, indent=2))
        return
    for key in uploaded:
        print(f"upload  {key}")
    for key in planned.extra:
        print(f"{'delete' if options.delete else 'keep  '}  {key}")
    would = "would have " if options.dry_run else ""
    print(
        f"{would}uploaded {len(uploaded)} file(s) to {bucket}, {planned.unchanged} unchanged, "
        f"{len(planned.extra) if options.delete else 0} deleted, {len(planned.stale)} path(s) invalidated"
    )


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("upload_assets", __doc__, _EXIT_CODES)
    add = parser.add_argument
    add("folder", type=Path, help="what the build wrote: pages, and fingerprinted files below assets/")
    add("--outputs", type=Path, metavar="FILE", help="what `pulumi stack output --json` printed")
    add("--bucket", help="instead of the output static_bucket")
    add("--distribution", help="instead of the output distribution_id")
    add("--region", help="of the bucket, instead of the output region (default: us-east-1)")
    add("--delete", action="store_true", help="also delete what is in the bucket and not in the folder")
    add("--trust-names", action="store_true", help="judge no name below assets/: the build fingerprints all")
    add("--dry-run", action="store_true", help="print what would be done, change nothing")
    add("--json", action="store_true", help="print JSON instead of lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
