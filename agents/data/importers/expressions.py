"""Rewards as an expression over columns, such as ``-cost - 0.1 * abs(flow)``: parsed, and never run as Python.

There are numbers, columns, ``+ - * / **``, comparisons (1 where they hold, else 0) and the functions below. Between
`` ` `` stands a column whose name is no word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.errors import ConfigError

LONGEST = 1000  # characters
DEEPEST = 200  # operations in each other, far fewer than fill Python's stack
FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {  # with the number of their arguments
    "abs": (np.abs, 1),
    "sqrt": (np.sqrt, 1),
    "exp": (np.exp, 1),
    "log": (np.log, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
    "clip": (np.clip, 3),
}
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


@dataclass(frozen=True)
class Expression:
    """An expression whose parts are all known."""

    text: str
    tree: ast.expr
    columns: Mapping[str, str]  # of each name in the tree

    def evaluate(self, values: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Of every row, given the columns ``[n]``; what has no value, such as a division by 0, is not finite."""
        inputs = {name: np.asarray(values[column], np.float64) for name, column in self.columns.items()}
        length = len(next(iter(inputs.values())))
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(_value(self.tree, inputs), np.float64), (length,)).copy()


def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        ConfigError: it is none, or has what is not allowed in it.
    """
    quoted: dict[str, str] = {}

    def word(match: re.Match[str]) -> str:
        quoted[f"_column_{len(quoted)}"] = match[1]
        return f" _column_{len(quoted) - 1} "

    if len(text) > LONGEST:
        raise ConfigError(f"reward is longer than {LONGEST} characters: write it into a column")
    try:
        tree = ast.parse(re.sub("`([^`]+)`", word, text).strip(), mode="eval").body
        names = dict.fromkeys(_names(tree))
    except ConfigError:
        raise
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise ConfigError(
            f"reward={text!r} is no expression; write one over columns, as -cost - 0.1*flow, with ` around names that "
            "are no words"
        ) from error
    if not names:
        raise ConfigError(f"reward={text!r} names no column; write last, or an expression over columns")
    return Expression(text, tree, {name: quoted.get(name, name) for name in names})


def _names(node: ast.AST, depth: int = 0) -> list[str]:
    """Names of columns in an expression; a ConfigError for what is not allowed there."""
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        float(node.value)  # an OverflowError of a whole number that is too long
        return []
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, (ast.BinOp, ast.UnaryOp)) and type(node.op) in OPERATORS:
        inner = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        inner = [node.left, *node.comparators]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in FUNCTIONS:
            raise ConfigError(f"reward: unknown function {node.func.id!r}; there are {', '.join(FUNCTIONS)}")
        if len(node.args) != (count := FUNCTIONS[node.func.id][1]):
            raise ConfigError(f"reward: {node.func.id} takes {count} values, got {len(node.args)}")
        inner = node.args
    else:
        what = ast.unparse(node)
        raise ConfigError(
            f"reward: {what!r} is not allowed; there are numbers, columns, + - * / **, comparisons of two values, and "
            f"{', '.join(FUNCTIONS)}"
        )
    return [name for each in inner for name in _names(each, depth + 1)]


def _value(node: ast.expr, inputs: Mapping[str, NDArray[np.float64]]) -> Any:
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, (int, float))
        return np.float64(node.value)
    if isinstance(node, ast.Name):
        return inputs[node.id]
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_value(node.left, inputs), _value(node.right, inputs))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](_value(node.operand, inputs))
    if isinstance(node, ast.Compare):
        holds = OPERATORS[type(node.ops[0])](_value(node.left, inputs), _value(node.comparators[0], inputs))
        return np.asarray(holds, np.float64)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return FUNCTIONS[node.func.id][0](*(_value(argument, inputs) for argument in node.args))
