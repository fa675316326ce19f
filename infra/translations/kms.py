"""Keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.translations.base import Call, Translation, renaming

if TYPE_CHECKING:
    from infra.translations.base import Inputs


def _rotation(inputs: Inputs) -> list[Call]:
    return [Call("kms", "EnableKeyRotation", {"KeyId": "{KeyId}"})] if inputs.get("enableKeyRotation") else []


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:kms/alias:Alias": renaming(
        "kms",
        "CreateAlias",
        {"name": "AliasName", "targetKeyId": "TargetKeyId"},
        replaces="name",
        update="UpdateAlias",
    ),
    "aws:kms/key:Key": renaming(
        "kms",
        "CreateKey",
        {
            "description": "Description",
            "policy": "Policy",
            "tags": ("Tags", lambda tags: [{"TagKey": k, "TagValue": v} for k, v in sorted(tags.items())]),
        },
        replaces="",
        update="UpdateKeyDescription",
        then=_rotation,
        elsewhere="enableKeyRotation",
    ),
}
