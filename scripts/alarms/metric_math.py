"""Metric math over series, as far as the stack's alarms use it; anything else is refused by name.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html (read 2026-11): in arithmetic and
comparisons a value that is missing beside one that is there counts as 0; where both are missing there is no point; a
division by zero drops the point. IF drops the point where the condition is missing or the chosen third argument is,
and takes 0 where the chosen second one is.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scripts.alarms.series import EvaluationError, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = float | Series

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: Final = ("IF", "FILL")


def evaluate(expression: str, series: Mapping[str, Series]) -> Series:
    """The expression's series over `series` by id, all of one length.

    Raises EvaluationError for a function or an operator that is not evaluated here, an unknown id, or a mere number.
    """
    try:
        # Metric math's grammar is Python's, as far as it is evaluated here.
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise EvaluationError(f"{expression!r} is no expression that is evaluated here.") from None
    with np.errstate(divide="ignore", invalid="ignore"):
        result = _value(tree, series)
    if isinstance(result, float):
        raise EvaluationError(f"{expression!r} gives one number; an alarm needs a series.")
    return result


def _value(node: ast.expr, series: Mapping[str, Series]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            if name not in series:
                raise EvaluationError(f"id {name!r} is no metric of the alarm. Known: {', '.join(series)}.")
            return series[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, series)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _combined(_BINARY[type(op)], _value(left, series), _value(right, series))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return _combined(_COMPARISONS[type(op)], _value(left, series), _value(right, series))
        case ast.Call(func=ast.Name(id="IF"), args=[condition, *branches]) if 1 <= len(branches) <= 2:
            return _if(_value(condition, series), *(_value(branch, series) for branch in branches))
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, filler]) if not isinstance(filler, ast.Name):
            return _fill(_value(filled, series), _value(filler, series))
        case ast.Call(func=ast.Name(id=name)):
            raise EvaluationError(
                f"{ast.unparse(node)}: {name} in this form is not evaluated here. Known: {', '.join(FUNCTIONS)} with a "
                "number to fill in."
            )
    raise EvaluationError(f"{ast.unparse(node)} is not evaluated here.")


def _combined(operation: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return float(operation(left, right))
    # A number has no gaps and fills none.
    gaps = [np.isnan(side) for side in (left, right) if not isinstance(side, float)]
    values = [side if isinstance(side, float) else np.nan_to_num(side, nan=0.0) for side in (left, right)]
    result = np.asarray(operation(*values), dtype=np.float64)
    return np.where(np.logical_and.reduce(gaps) | ~np.isfinite(result), np.nan, result)


def _if(condition: Value, then: Value, otherwise: Value = np.nan) -> Value:
    chosen = np.where(np.asarray(condition) != 0, np.nan_to_num(then, nan=0.0), otherwise)
    result: Series = np.where(np.isnan(condition), np.nan, chosen)
    return result


def _fill(value: Value, filler: Value) -> Value:
    return value if isinstance(value, float) else np.where(np.isnan(value), filler, value)
