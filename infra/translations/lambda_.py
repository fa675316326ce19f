"""Functions and who may call them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

import pulumi

from infra.translations.base import Translation, renaming


def _zipped(archive: pulumi.AssetArchive) -> dict[str, bytes]:
    """The archive's files as Lambda takes them, with a fixed date: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, asset in sorted(archive.assets.items()):
            assert isinstance(asset, pulumi.FileAsset), "the program declares files"
            zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), Path(asset.path).read_bytes())
    return {"ZipFile": buffer.getvalue()}


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:lambda/function:Function": renaming(
        "lambda",
        "CreateFunction",
        {
            "name": "FunctionName",
            "description": "Description",
            "runtime": "Runtime",
            "architectures": "Architectures",
            "handler": "Handler",
            "code": ("Code", _zipped),
            "role": "Role",
            "timeout": "Timeout",
            "memorySize": "MemorySize",
            "environment": ("Environment", lambda environment: {"Variables": environment["variables"]}),
            "tags": "Tags",
        },
        replaces="name",
        update="UpdateFunctionConfiguration",
        elsewhere="publish reservedConcurrentExecutions skipDestroy",
    ),
    "aws:lambda/permission:Permission": renaming(
        "lambda",
        "AddPermission",
        {"function": "FunctionName", "action": "Action", "principal": "Principal", "sourceArn": "SourceArn"},
        replaces="function action principal sourceArn",
        update=None,
        fixed={"StatementId": "pulumi"},
    ),
}
