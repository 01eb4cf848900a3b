"""Data sets of the Hugging Face hub: ``hf:owner/name:config:split``.

Access to the hub is optional. Without it, or without the library ``datasets``, the error says what was tried and how to
fetch the files elsewhere.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.rows import Row, require_library

PREFIX: Final = "hf:"
_FORM: Final = re.compile(r"hf:(?P<name>[^:/\s]+/[^:/\s]+)(?::(?P<config>[^:/]*))?(?::(?P<split>[^:/]+))?")


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A data set of the hub.

    Attributes:
        name: ``owner/name``.
        config: ``None`` is the data set's default.
        split: ``None`` where it has only one.
    """

    name: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, source: str) -> Self:
        """Reads ``hf:owner/name[:config][:split]``; an empty config is the default: ``hf:owner/name::test``.

        Raises:
            ProblemFileError: it is not of this form.
        """
        match = _FORM.fullmatch(source)
        if match is None:
            raise ProblemFileError(f"{source!r}: a data set of the hub is written hf:owner/name[:config][:split]")
        return cls(match["name"], match["config"] or None, match["split"])

    def __str__(self) -> str:
        config = f":{self.config or ''}" if self.config or self.split else ""
        return f"{PREFIX}{self.name}{config}" + (f":{self.split}" if self.split else "")

    @property
    def stem(self) -> str:
        """What stands for a file's stem in ids."""
        return "-".join([self.name.partition("/")[2], *filter(None, [self.config, self.split])])

    def rows(self) -> Iterator[Row]:
        """All rows, downloaded or from the library's cache.

        Raises:
            ProblemFileError: there is no access, no such data set, config or split, or no library.
        """
        for number, record in enumerate(self._load(), start=1):
            yield Row(number, record)

    def _load(self) -> Any:
        try:
            datasets = require_library("datasets", f"to read {self}")
        except ProblemFileError as error:
            raise ProblemFileError(f"{error}; or {self._elsewhere()}") from error
        try:
            loaded = datasets.load_dataset(self.name, self.config, split=self.split)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise ProblemFileError(
                f"{self}: datasets {datasets.__version__} could not load {self.name!r} with "
                f"config {self.config or 'default'!r} and split {self.split or 'any'!r}: {error}\n"
                f"without access to the hub, {self._elsewhere()}"
            ) from error
        if self.split is not None:
            return loaded
        if len(loaded) != 1:
            raise ProblemFileError(
                f"{self}: has the splits {', '.join(loaded)}; name one: hf:{self.name}:{self.config or ''}:SPLIT"
            )
        return next(iter(loaded.values()))

    def _elsewhere(self) -> str:
        folder = self.name.partition("/")[2]
        return (
            f"download it where there is: `hf download {self.name} --repo-type dataset --local-dir {folder}`, "
            f"then name a Parquet or JSONL file of {folder}/"
        )
