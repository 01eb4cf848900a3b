"""Reading recipes: shipped or from a file, with overrides; every fault is explained."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from thor_ray.config.recipe import Recipe

RECIPES = Path(__file__).parent.parent / "recipes"


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
    path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}: neither a file nor one of {', '.join(recipe_names())}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: a recipe is a mapping, this is a {type(tree).__name__}")
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
    section: Any = Recipe
    for part in location[:-1]:
        section = section.model_fields[part].annotation
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
