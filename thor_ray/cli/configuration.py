"""``thor config``: what a recipe can say, and what it says."""

import json
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Recipes: what they can say, and what one says in full.")

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override one field of the recipe; may be repeated."),
]


@app.command()
def show(
    recipe: Annotated[
        str | None, typer.Argument(help="A shipped recipe's name or a YAML file; without it, the defaults.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print a recipe in full: its own settings, the overrides, and the defaults of all else."""
    import yaml

    from thor_ray.config import Recipe, load_recipe

    if recipe is None and overrides:
        raise typer.BadParameter("name the recipe that is to be overridden", param_hint="'--set'")
    resolved = Recipe() if recipe is None else load_recipe(recipe, overrides)
    typer.echo(yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False), nl=False)


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="JSON Schema, for editors and other tools.")] = False,
) -> None:
    """Print every field: its default, what is allowed, and what it means."""
    from thor_ray.config import Recipe

    if as_json:
        typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))
        return
    for path, default, allowed, meaning in schema_rows(Recipe.model_json_schema()):
        typer.echo(f"{path}: {default}  ({allowed})" + (f"\n    {meaning}" if meaning else ""))


@app.command()
def prompts() -> None:
    """Print the prompt templates, as ``policy.template`` names them."""
    from thor_ray.dialogue import PROMPT_TEMPLATES, render_prompt

    for name in PROMPT_TEMPLATES:
        typer.echo(f"--- {name}\n{render_prompt(name, '{question}')}")


def schema_rows(tree: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Each leaf field of a JSON schema as (dotted path, default, what is allowed, meaning), sections in order."""
    definitions = tree.get("$defs", {})

    def walk(section: dict[str, Any], defaults: dict[str, Any], prefix: str) -> list[tuple[str, str, str, str]]:
        rows = []
        for name, field in section["properties"].items():
            default = defaults.get(name, field.get("default"))
            target = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
            if "properties" in target:
                rows += walk(target, default or {}, f"{prefix}{name}.")
            else:
                meaning = field.get("description", "")
                rows.append((prefix + name, json.dumps(default), _allowed({**target, **field}), meaning))
        return rows

    return walk(tree, {}, "")


def _allowed(field: dict[str, Any]) -> str:
    """What a field takes, in words: its type, its choices, its bounds."""
    if "anyOf" in field:
        return " or ".join(_allowed(option) for option in field["anyOf"])
    if "enum" in field:
        return " | ".join(json.dumps(choice) for choice in field["enum"])
    words = [{"array": "list", "object": "mapping"}.get(field.get("type", ""), field.get("type", "anything"))]
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    words += [f"{sign} {field[bound]}" for bound, sign in signs.items() if bound in field]
    return " ".join(words)
