"""Log groups, and the delivery of CloudFront's logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.translations.base import Call, Translation, renaming

if TYPE_CHECKING:
    from infra.translations.base import Inputs


def _retention(inputs: Inputs) -> list[Call]:
    if not inputs.get("retentionInDays"):
        return []  # kept for ever
    parameters = {"logGroupName": inputs["name"], "retentionInDays": inputs["retentionInDays"]}
    return [Call("logs", "PutRetentionPolicy", parameters)]


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:cloudwatch/logDelivery:LogDelivery": renaming(
        "logs",
        "CreateDelivery",
        {
            "deliverySourceName": "deliverySourceName",
            "deliveryDestinationArn": "deliveryDestinationArn",
            "tags": "tags",
        },
        replaces="deliverySourceName deliveryDestinationArn",
        update="UpdateDeliveryConfiguration",
    ),
    "aws:cloudwatch/logDeliveryDestination:LogDeliveryDestination": renaming(
        "logs",
        "PutDeliveryDestination",
        {
            "name": "name",
            "outputFormat": "outputFormat",
            "deliveryDestinationConfiguration": "deliveryDestinationConfiguration",
            "tags": "tags",
        },
        replaces="name outputFormat",
        update="PutDeliveryDestination",
    ),
    "aws:cloudwatch/logDeliverySource:LogDeliverySource": renaming(
        "logs",
        "PutDeliverySource",
        {"name": "name", "logType": "logType", "resourceArn": "resourceArn", "tags": "tags"},
        replaces="name logType resourceArn",
        update="PutDeliverySource",
    ),
    "aws:cloudwatch/logGroup:LogGroup": renaming(
        "logs",
        "CreateLogGroup",
        {"name": "logGroupName", "kmsKeyId": "kmsKeyId", "tags": "tags"},
        replaces="name",
        update=None,
        then=_retention,
        elsewhere="retentionInDays skipDestroy",
    ),
}
