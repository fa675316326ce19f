"""The stack's alarms, evaluated as CloudWatch does: it has no dry run, and moto evaluates nothing."""
