"""A provider named `aws` for Pulumi's engine that needs no AWS: moto, a record beside it, and a real Valkey.

`wire` reads the engine's values, `provider` speaks its protocol, `resources` decides what is made, changed and
replaced, `kinds` says so type by type, `judge` refuses what AWS would, `cloud` holds moto and what moto lacks.
"""
