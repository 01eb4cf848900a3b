"""Every command of `thor` that README and docs show is one that it understands."""

from pathlib import Path

import pytest

from tests.support.thor_commands import DocumentCommand, document_commands, parse_faults

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def of_thor(command: DocumentCommand) -> tuple[str, ...] | None:
    """The arguments for `thor` in a command, whether it is called directly, as a job, or in a container."""
    words = list(command.words)
    if "thor" in words and words[0] in {"thor", "ray", "docker"}:
        return tuple(words[words.index("thor") + 1 :])
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_commands_of_thor_are_understood(document):
    for command in document_commands(document):
        arguments = of_thor(command)
        if arguments is not None:
            assert parse_faults(arguments) is None, f"{command.where}: {command.text}"


def test_most_commands_are_found():
    found = [command for document in DOCUMENTS for command in document_commands(document)]
    assert len([command for command in found if of_thor(command)]) > 60
    verbs = {command.words[1] for command in found if command.words[0] == "thor"}
    assert {"train", "tirgen", "sft", "eval", "solve", "submit", "doctor", "dashboard", "plan"} <= verbs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "thor-7b", "--roundz", "3"], "--roundz"),
        (["submit", "thor-7b"], "--runs"),
        (["submit", "thor-7b", "--runs", "/r", "--verb", "sft", "--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["problems", "show"], "Missing"),
    ],
)
def test_what_thor_does_not_understand_is_found(arguments, said):
    assert said in (parse_faults(arguments) or "")
