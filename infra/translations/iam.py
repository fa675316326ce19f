"""Roles and policies."""

from __future__ import annotations

from typing import Final

from infra.translations.base import TAGS, Translation, renaming

TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:iam/policy:Policy": renaming(
        "iam",
        "CreatePolicy",
        {"name": "PolicyName", "description": "Description", "policy": "PolicyDocument", **TAGS},
        replaces="name description",
        update="CreatePolicyVersion",
    ),
    "aws:iam/role:Role": renaming(
        "iam",
        "CreateRole",
        {"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument", **TAGS},
        replaces="name",
        update="UpdateRole",
        elsewhere="forceDetachPolicies",
    ),
    "aws:iam/rolePolicy:RolePolicy": renaming(
        "iam",
        "PutRolePolicy",
        {"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
        replaces="name role",
        update="PutRolePolicy",
    ),
}
