"""The reference of the configuration says what the code says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from thor_ray.cli.reference import configuration_markdown
from thor_ray.config import Recipe, load_recipe, recipe_names
from thor_ray.config.loading import merge

ROOT = Path(__file__).parents[3]


def test_the_page_is_what_the_code_makes():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == configuration_markdown(), "thor config schema --markdown > docs/configuration.md"


def test_every_field_of_every_shipped_recipe_is_on_the_page():
    page = configuration_markdown()
    documented = set()
    section = ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = "" if line == "## The run" else line.removeprefix("## ").strip("`") + "."
        elif match := re.match(r"\| `(\w+)` \|", line):
            documented.add(section + match[1])

    def leaves(tree: dict[str, Any], prefix: str = ""):
        for name, value in tree.items():
            path = f"{prefix}{name}"
            if path in documented and not (
                isinstance(value, dict) and any(each.startswith(f"{path}.") for each in documented)
            ):
                yield path, True
            elif isinstance(value, dict):
                yield from leaves(value, f"{path}.")
            else:
                yield path, False

    for name in recipe_names():
        found = dict(leaves(load_recipe(name).model_dump(mode="json")))
        assert all(found.values()), [path for path, known in found.items() if not known]
    assert "learner.lora.rank" in documented


def test_every_section_says_what_it_is_for():
    sections = re.findall(r"^## .*\n\n(.*)\n", configuration_markdown(), re.MULTILINE)
    assert len(sections) > 15
    assert all(len(purpose) > 10 for purpose in sections)


@pytest.mark.parametrize("page", ["recipes.md", "clusters.md", "operating.md"])
def test_fields_that_a_page_names_exist(page):
    """Whatever stands there as ``--set a.b=c`` or as `` `section.field` `` is a field, or a section."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    tree = Recipe().model_dump(mode="json")
    tree["learner"]["lora"] = {"rank": 16}
    named = {*re.findall(r"--set ([a-z_]+(?:\.[a-z_]+)+)=", text)}
    named |= {name for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?::[^`]*)?`", text) if name.split(".")[0] in tree}
    assert named
    for name in named:
        node = tree
        for part in name.split("."):
            assert isinstance(node, dict), name
            assert part in node, f"{page} names {name}, which no recipe has"
            node = node[part]


def test_a_recipe_in_a_page_is_one(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for index, block in enumerate(blocks):
        tree = merge({}, yaml.safe_load(block))
        path = tmp_path / f"{index}.yaml"
        path.write_text(yaml.safe_dump(tree))
        assert load_recipe(str(path)).name == tree["name"]
