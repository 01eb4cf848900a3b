"""Wrong programs from right ones: one small change each, as programmers make mistakes.

A mutant that passes all tests has survived: either the tests are too weak, or the change changes nothing that a caller
could see (an *equivalent* mutant, which no test can catch). So a few survivors are no fault of the checker.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

_OPPOSITES: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OTHER_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program with one change.

    Attributes:
        program: The changed program.
        line: Where the change is, in the original.
        change: What it was and what it is.
    """

    program: str
    line: int
    change: str


def mutant_of(program: str, seed: str) -> Mutant | None:
    """A program with one change, drawn among all that there are; ``None`` if there is no place for one.

    A return value that is negated is taken only where there is nothing else to change.

    Args:
        program: One that compiles.
        seed: Draws the change.
    """
    tree = ast.parse(program)
    changes = list(_changes(tree)) or list(_negated_returns(tree))
    if not changes:
        return None
    old, new = Random(seed).choice(changes)
    changed = ast.fix_missing_locations(_Replacement(old, new).visit(tree))
    return Mutant(ast.unparse(changed), old.lineno, f"{ast.unparse(old)} -> {ast.unparse(new)}")


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Expressions inside functions, each with another that could stand in its place."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for statement in function.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.expr) and (changed := _changed(node)) is not None:
                    yield node, changed


def _changed(node: ast.expr) -> ast.expr | None:
    other = copy.deepcopy(node)
    match other:
        case ast.Compare(ops=[operator]) if type(operator) in _OPPOSITES:
            other.ops = [_OPPOSITES[type(operator)]()]
        case ast.BinOp(op=operation) if type(operation) in _OTHER_OPERATORS:
            other.op = _OTHER_OPERATORS[type(operation)]()
        case ast.BoolOp(op=ast.And()):
            other.op = ast.Or()
        case ast.BoolOp(op=ast.Or()):
            other.op = ast.And()
        case ast.Constant(value=bool(value)):
            other.value = not value
        case ast.Constant(value=int(value)):
            other.value = value + 1
        case _:
            return None
    return other


def _negated_returns(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value, ast.copy_location(ast.UnaryOp(ast.Not(), node.value), node.value)


class _Replacement(ast.NodeTransformer):
    """Puts one expression in the place of another."""

    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else super().generic_visit(node)
