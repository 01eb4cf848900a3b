"""Groups of verbs that are verbs themselves."""

from typing import Any, Final

from typer.core import TyperGroup

DEFAULT_VERB: Final = "run"


class DefaultVerbGroup(TyperGroup):
    """A verb such as ``thor eval`` that is itself one, ``run``, unless the first word after it names another."""

    @property
    def default_verb(self) -> Any:
        """The command that runs where none is named."""
        return self.commands[DEFAULT_VERB]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default verb in front of arguments that do not begin with a verb."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [DEFAULT_VERB, *args])
