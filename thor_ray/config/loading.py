"""Reading recipes: shipped or from a file, one extending another, with overrides; every fault is explained."""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from thor_ray.config.recipe import Recipe
from thor_ray.config.section import Section

RECIPES = Path(__file__).parent.parent / "recipes"

EXTENDS = "extends"
"""Key of the recipe that a recipe's file builds upon: a shipped one's name, or a path, from the file's own folder."""


class RecipeError(ValueError):
    """A recipe that cannot run. The message names each field, its value and what is allowed."""


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: list[str] | None = None) -> Recipe:
    """Reads a shipped recipe by name or any recipe by path, applies ``a.b=value`` overrides, validates it.

    Raises:
        RecipeError: no such recipe, not YAML, or invalid; the message lists every fault.
    """
    path = _find(name_or_path, Path())
    tree = _read(path, ())
    for override in overrides or []:
        _apply_override(tree, override)
    return validate_recipe(tree, str(path))


def validate_recipe(tree: dict[str, Any], origin: str) -> Recipe:
    """Validates a recipe's tree.

    Raises:
        RecipeError: lists each faulty field with its value, what is wrong, and the nearest known key.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{origin}: " + "\n  ".join(["the recipe cannot run:", *_explain(error)])) from error


def merge(base: dict[str, Any], changes: dict[str, Any], section: type[Section] = Recipe) -> dict[str, Any]:
    """A recipe's tree with another's changes: sections are merged field by field, all other values replaced.

    Args:
        base: Tree of the recipe that is built upon.
        changes: Wins.
        section: What both are trees of.
    """
    merged = dict(base)
    for key, value in changes.items():
        inner, below = _section_at(section, key), merged.get(key)
        if inner is not None and isinstance(value, dict) and isinstance(below, dict):
            merged[key] = merge(below, value, inner)
        else:
            merged[key] = value
    return merged


def _find(name_or_path: str, folder: Path) -> Path:
    """The file of a shipped recipe, or the one at a path that counts from ``folder``."""
    for path in (RECIPES / f"{name_or_path}.yaml", folder / name_or_path):
        if path.is_file():
            return path
    near = difflib.get_close_matches(name_or_path, recipe_names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped ones are {', '.join(recipe_names())}"
    raise RecipeError(f"no recipe {name_or_path!r}: neither a file nor a shipped one; {hint}")


def _read(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    """The tree of a recipe's file, what it extends included."""
    chain = (*extended_by, path.resolve())
    if path.resolve() in extended_by:
        raise RecipeError("recipes that extend one another: " + " → ".join(map(str, chain)))
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: a recipe is a mapping, this is a {type(tree).__name__}")
    base = tree.pop(EXTENDS, None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise RecipeError(f"{path}: {EXTENDS} names one recipe, not {base!r}")
    return merge(_read(_find(base, path.parent), chain), tree)


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise RecipeError(f"--set {override!r}: write it as section.field=value")
    *parents, leaf = key.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override!r}: {parent!r} is a value, not a section")
        node = child
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML: {error}") from error


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: no such field{_suggest(fault['loc'])}")
        elif fault["type"] == "value_error":
            lines.append(f"{where}: {fault['ctx']['error']}" if where else str(fault["ctx"]["error"]))
        else:
            lines.append(f"{where}: {fault['msg']}, got {fault['input']!r}")
    return lines


def _suggest(location: tuple[int | str, ...]) -> str:
    section: type[Section] = Recipe
    for part in location[:-1]:
        section = _section_at(section, str(part)) or section
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _section_at(section: type[Section], field: str) -> type[Section] | None:
    """The kind of section that a field holds, also where it may be null; ``None`` if it holds a value."""
    if field not in section.model_fields:
        return None
    annotation = section.model_fields[field].annotation
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None
