"""``thor config``: what a recipe can say, and what it says."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from thor_ray.errors import UserError

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
    """Print a recipe in full: its own settings, the overrides, the defaults of all else, and what that comes to.

    The output is a recipe by itself: what it comes to stands in comments at the end.
    """
    import yaml

    from thor_ray.config import Recipe, load_recipe
    from thor_ray.planning import derived_rows
    from thor_ray.tiny import base_model_path

    if recipe is None and overrides:
        raise typer.BadParameter("name the recipe that is to be overridden", param_hint="'--set'")
    resolved = Recipe() if recipe is None else load_recipe(recipe, overrides)
    typer.echo(yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False), nl=False)
    named = resolved.policy.model
    rows = derived_rows(resolved, base_model_path() if named == "tiny" else Path(named))
    width = max(map(len, rows))
    typer.echo(
        "\n".join(["", "# What this comes to:", *(f"#   {name:{width}}  {value}" for name, value in rows.items())])
    )


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="JSON Schema, for editors and other tools.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/configuration.md.")] = False,
) -> None:
    """Print every field: its default, what is allowed, and what it means."""
    from thor_ray.config import Recipe

    if as_json and markdown:
        raise typer.BadParameter("choose one of them", param_hint="'--json', '--markdown'")
    if markdown:
        from thor_ray.cli.reference import configuration_markdown

        typer.echo(configuration_markdown(), nl=False)
        return
    if as_json:
        typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))
        return
    for path, default, allowed, meaning in schema_rows(Recipe.model_json_schema()):
        typer.echo(f"{path}: {default}  ({allowed})" + (f"\n    {meaning}" if meaning else ""))


@app.command()
def prompts(
    model: Annotated[
        str | None, typer.Option(help="Hugging Face directory, or `tiny`: show token for token what this policy reads.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    question: Annotated[str, typer.Option(help="What stands in the question's place.")] = "{question}",
    as_json: Annotated[bool, typer.Option("--json", help="Texts, and with --model token ids, as JSON.")] = False,
) -> None:
    """Print the prompt templates, as ``policy.template`` names them.

    With --model, tokens are parted by │, spaces are shown as ·, line ends as ⏎.
    """
    from thor_ray.dialogue import PROMPT_TEMPLATES

    names = list(PROMPT_TEMPLATES) if template is None else [template]
    if unknown := [name for name in names if name not in PROMPT_TEMPLATES]:
        raise UserError(f"no template {unknown[0]!r}", f"choose one of {', '.join(PROMPT_TEMPLATES)}")
    if model is None:
        shown = [{"template": name, **asdict(PROMPT_TEMPLATES[name])} for name in names]
        lines = [line for each in shown for line in _template_lines(each, question)]
    else:
        shown, lines = _model_prompts(model, names, question)
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


@app.command()
def metrics(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/metrics.md.")] = False,
    grafana: Annotated[bool, typer.Option("--grafana", help="As a board for Grafana.")] = False,
) -> None:
    """Print every figure that a run records: name, unit and meaning."""
    from thor_ray.metrics_table import grafana_board, registry_markdown, registry_objects

    if as_json + markdown + grafana > 1:
        raise typer.BadParameter("choose one of them", param_hint="'--json', '--markdown', '--grafana'")
    if markdown:
        typer.echo(registry_markdown(), nl=False)
    elif as_json or grafana:
        typer.echo(json.dumps(grafana_board() if grafana else registry_objects(), indent=2, ensure_ascii=False))
    else:
        scope = None
        for each in registry_objects():
            if each["scope"] != scope:
                scope = each["scope"]
                typer.echo(f"--- {scope}")
            typer.echo(f"{', '.join(each['names'])}  ({each['unit']})\n    {each['meaning']}")


def _template_lines(template: dict[str, Any], question: str) -> list[str]:
    """A template's words, in which the model's own chat template is not yet to be seen."""
    where = " [a user's message; --model shows the chat template around it]" if template["chat"] else ""
    text = template["text"].replace("{question}", question)
    return [f"--- {template['template']}: {template['purpose']}{where}", text]


def _model_prompts(model: str, names: Sequence[str], question: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What one policy reads: as JSON values, and as lines for people."""
    from actors.codec import TokenizerCodec
    from thor_ray.dialogue import PROMPT_TEMPLATES
    from thor_ray.preflight import model_faults, require
    from thor_ray.prompt_record import recorded_template
    from thor_ray.tiny import base_model_path

    path = base_model_path() if model == "tiny" else Path(model)
    require(model_faults(path))
    codec = TokenizerCodec.from_directory(str(path))
    trained = recorded_template(path)
    shown: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in names:
        heading = f"--- {name}: {PROMPT_TEMPLATES[name].purpose}"
        try:
            ids = codec.encode_prompt(name, question)
        except UserError as error:
            if len(names) == 1:
                raise
            lines += [heading, f"({error.message})"]
            continue
        tokens = [codec.token_text(token) for token in ids]
        shown.append(
            {"template": name, "text": codec.prompt_frame(name).around(question), "ids": ids, "tokens": tokens}
        )
        mark = ", what this policy was trained with" if name == trained else ""
        lines += [heading, f"({len(ids)} tokens{mark})", "│".join(visible(token) for token in tokens)]
    end, turn_end = codec.token_text(codec.end_of_sequence), codec.chat_turn_end()
    lines.append(f"--- the policy ends its turn with {visible(end)}")
    if turn_end is not None and not turn_end.startswith(end):
        lines.append(f"but its chat template with {visible(turn_end)}: instruction-tuned policies may not stop")
    return shown, lines


def visible(text: str) -> str:
    """The text with its spaces, line ends and everything that does not print made visible."""
    signs = {" ": "·", "\n": "⏎\n", "\t": "⇥"}
    return "".join(
        signs.get(sign) or (sign if sign.isprintable() else sign.encode("unicode_escape").decode()) for sign in text
    )


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
