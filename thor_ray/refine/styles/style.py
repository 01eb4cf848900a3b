"""What a style is: one way to write an operation as a program."""

from dataclasses import dataclass

from thor_ray.refine.operations import Operation


@dataclass(frozen=True, slots=True)
class Style:
    """One way to program an operation, right or wrong.

    Attributes:
        tool: What a thought calls it, after "We use"; unique among the operation's styles, so that the words before a
            program decide which program it is.
        code: The program, with the operation's fields in braces.
        flawed: The program fails in today's Python: it prints nothing, or ends with an error.
        limits: Fields with the longest text, in characters, for which the program ends in good time.
    """

    tool: str
    code: str
    flawed: bool = False
    limits: tuple[tuple[str, int], ...] = ()

    def fits(self, operation: Operation) -> bool:
        """Whether the program computes this operation in good time."""
        return all(len(operation.fields[name]) <= longest for name, longest in self.limits)

    def program(self, operation: Operation) -> str:
        """The program for this operation."""
        return self.code.format_map(operation.fields)


def right(tool: str, *lines: str, **limits: int) -> Style:
    """A style that works, line by line; ``limits`` are the longest texts of fields, by name."""
    return Style(tool, "\n".join(lines), limits=tuple(limits.items()))


def flawed(tool: str, *lines: str) -> Style:
    """A style that fails, line by line."""
    return Style(tool, "\n".join(lines), flawed=True)
