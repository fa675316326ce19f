"""The AWS stack of RoleFerry's cache: ElastiCache, CloudFront, alarms and dashboard, as a Pulumi program."""
