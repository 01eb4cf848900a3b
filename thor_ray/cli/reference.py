"""docs/configuration.md, made from the recipe's own fields."""

from typing import Any, Final

from thor_ray.cli.configuration import schema_rows
from thor_ray.config import Recipe

_INTRODUCTION: Final = """\
# Configuration

Made by `thor config schema --markdown` from `thor_ray/config/`; a test compares the two. A recipe is a YAML file with any of
these fields; [recipes.md](recipes.md) says how recipes are written, extended and overridden. What must agree between
fields is checked as well, and said with a remedy: `thor config show RECIPE` validates one.
"""


def configuration_markdown() -> str:
    """The page: one table for each section of a recipe, its fields in order."""
    tree = Recipe.model_json_schema()
    sections: dict[str, list[str]] = {}
    for prefix, rows in [("", schema_rows(tree)), *_optional_sections(tree)]:
        for path, default, allowed, meaning in rows:
            name, _, field = (prefix + path).rpartition(".")
            cells = (f"`{field}`", f"`{default}`", allowed, meaning)
            sections.setdefault(name, []).append(f"| {' | '.join(map(_cell, cells))} |")
    head = "| field | default | allowed | meaning |\n|---|---|---|---|\n"
    parts = [
        f"\n## {f'`{name}`' if name else 'The run'}\n\n{_purpose(tree, name)}\n\n{head}" + "\n".join(rows) + "\n"
        for name, rows in sections.items()
    ]
    return _INTRODUCTION + "".join(parts)


def _optional_sections(tree: dict[str, Any]) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Sections that are null unless given, which the rows of the whole recipe do not look into: prefix and rows."""
    definitions = tree["$defs"]

    def walk(section: dict[str, Any], prefix: str) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
        found = []
        for name, field in section["properties"].items():
            direct = definitions.get(_reference(field), {})
            if "properties" in direct:
                found += walk(direct, f"{prefix}{name}.")
            for option in field.get("anyOf", ()):
                target = definitions.get(_reference(option), {})
                if "properties" in target:
                    found.append((f"{prefix}{name}.", schema_rows({**target, "$defs": definitions})))
        return found

    return walk(tree, "")


def _reference(field: dict[str, Any]) -> str:
    """The name of the definition that a field refers to, empty if it refers to none."""
    return str(field.get("$ref", "")).rpartition("/")[2]


def _purpose(tree: dict[str, Any], name: str) -> str:
    """What a section's class says of itself."""
    node = tree
    for part in filter(None, name.split(".")):
        field = node["properties"][part]
        names = [_reference(option) for option in (field, *field.get("anyOf", ()))]
        node = next(tree["$defs"][found] for found in names if found)
    return " ".join(str(node.get("description", "")).split())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
