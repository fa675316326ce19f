"""Topics and who is told."""

from __future__ import annotations

from typing import Final

from infra.translations.base import TAGS, Translation, renaming

TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:sns/topic:Topic": renaming(
        "sns",
        "CreateTopic",
        {"name": "Name", "kmsMasterKeyId": ("Attributes", lambda key: {"KmsMasterKeyId": key}), **TAGS},
        replaces="name",
        update="SetTopicAttributes",
    ),
    "aws:sns/topicPolicy:TopicPolicy": renaming(
        "sns",
        "SetTopicAttributes",
        {"arn": "TopicArn", "policy": "AttributeValue"},
        replaces="arn",
        update="SetTopicAttributes",
        fixed={"AttributeName": "Policy"},
    ),
    "aws:sns/topicSubscription:TopicSubscription": renaming(
        "sns",
        "Subscribe",
        {"topic": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"},
        replaces="topic protocol endpoint",
        update=None,
    ),
}
