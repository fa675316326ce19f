"""Evaluates the metric math of the alarms, and an alarm over its periods, by CloudWatch's documented rules.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html. As far as
the alarms use them: arithmetic, comparisons and IF over series of one period. A missing value counts as 0 beside a
value that is there; with every series missing there is no point; a division by zero drops the point.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.alarms import Alarm

_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_COMPARE = {ast.GtE: operator.ge, ast.Gt: operator.gt, ast.LtE: operator.le, ast.Lt: operator.lt}


def point(expression: str, values: Mapping[str, float | None]) -> float | None:
    """The expression at one period; None where CloudWatch has no point."""
    tree = ast.parse(expression.replace("IF(", "if_("), mode="eval").body
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {"if_"}
    assert used <= values.keys(), f"{expression} names what it was not given"
    if all(values[name] is None for name in used):
        return None
    try:
        return _value(tree, values)
    except ZeroDivisionError:
        return None


def _value(node: ast.expr, values: Mapping[str, float | None]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return values[name] or 0
        case ast.BinOp(left=left, op=op, right=right):
            result: float = _BINARY[type(op)](_value(left, values), _value(right, values))
            return result
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return float(_COMPARE[type(op)](_value(left, values), _value(right, values)))
        case ast.Call(func=ast.Name(id="if_"), args=[condition, then, otherwise]):
            return _value(then if _value(condition, values) else otherwise, values)
    raise AssertionError(f"CloudWatch has no {ast.dump(node)}")


def rings(alarm: Alarm, history: Sequence[Mapping[str, float | None]]) -> bool:
    """Whether the alarm is in ALARM after the last of the periods, with M of N and missing data as declared."""
    compare = {"LessThanThreshold": operator.lt, "GreaterThanThreshold": operator.gt}[alarm.comparison]
    breaching = 0
    for values in history[-alarm.periods :]:
        value = point(alarm.expression, values)
        breaching += alarm.missing == "breaching" if value is None else compare(value, alarm.threshold)
    return breaching >= alarm.datapoints
