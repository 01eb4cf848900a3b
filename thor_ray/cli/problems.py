"""``thor problems``: which benchmarks there are, what is in a problem file, and which test problems training data holds."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thor_ray.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.problems import Benchmark
    from thor_ray.problems.decontamination import ContaminationReport

app = typer.Typer(no_args_is_help=True, help="Problems: benchmarks, files, and what they have in common.")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder with benchmark files, instead of what THOR_DATA names.")
]
QuestionField = Annotated[str | None, typer.Option(help="Where the questions stand, if not in a known field.")]
AnswerField = Annotated[str | None, typer.Option(help="Where the answers stand; dots lead into objects.")]

_MOST_OVERLAPS_SHOWN: Final = 20
_PASSAGE_CHARACTERS: Final = 70
_TABLE_CHARACTERS: Final = 1000


@dataclass(frozen=True, slots=True)
class _Found:
    """A benchmark's file on this machine: where, how many problems it holds, and why it cannot be read if so."""

    path: Path | None = None
    rows: int | None = None
    fault: str | None = None


@app.command(name="list")
def list_benchmarks(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is registered, as JSON.")] = False,
) -> None:
    """List the registered benchmarks, and which of them lie on this machine.

    Ends with code 1 if a file holds another number of problems than its benchmark.
    """
    from rich.console import Console

    from thor_ray.problems import BENCHMARKS

    found = {benchmark.name: _find(benchmark, data_dir) for benchmark in BENCHMARKS}
    if as_json:
        entries = [_entry(benchmark) | _place(found[benchmark.name]) for benchmark in BENCHMARKS]
        typer.echo(json.dumps(entries, indent=2, ensure_ascii=False))
    else:
        # Wide enough for every path: a cut path is of no use, and the terminal breaks long lines by itself.
        _print_benchmarks(found, data_dir, Console(highlight=False, width=_TABLE_CHARACTERS))
    if any(_wrong(benchmark, found[benchmark.name]) for benchmark in BENCHMARKS):
        raise typer.Exit(1)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A benchmark, a JSONL or Parquet file, or hf:owner/name:config:split.")],
    index: Annotated[int | None, typer.Option(min=0, help="This problem, counted from 0, whole.")] = None,
    data_dir: DataDir = None,
    question_field: QuestionField = None,
    answer_field: AnswerField = None,
) -> None:
    """Print what is known of a benchmark, or with --index one problem of any source."""
    from rich.console import Console
    from rich.text import Text

    from thor_ray.problems import FieldNames, benchmark_named, load_problems

    console = Console(highlight=False, soft_wrap=True)
    benchmark = benchmark_named(name)
    if index is None and benchmark is not None:
        place = _find(benchmark, data_dir)
        for key, value in {**_entry(benchmark), **_place(place)}.items():
            values = value if isinstance(value, list) else [value]
            for line, each in enumerate(values or ["none"]):
                console.print(Text.assemble((f"{'' if line else key:<16}", "bold"), str(each)))
        return
    problems = load_problems(name, names=FieldNames(question_field, answer_field), data_dir=data_dir)
    if index is None:
        console.print(f"{len(problems)} problems; --index N shows one of them", markup=False)
        return
    if index >= len(problems):
        raise UserError(f"{name} has {len(problems)} problems, so there is no --index {index}", "indexes begin at 0")
    problem = problems[index]
    for key in ("id", "source", "subject", "level", "question", "answer", "solution"):
        if (value := getattr(problem, key)) is not None:
            text = str(value)
            console.print(Text.assemble((f"{key:<10}", "bold"), f"\n{text}" if "\n" in text else text))


@app.command()
def decontaminate(
    train: Annotated[str, typer.Argument(help="Training problems: a file, or hf:owner/name:config:split.")],
    against: Annotated[str, typer.Option(help="Test sets, parted by commas: benchmarks, files, hub data sets.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="JSONL of the rows that hold no test problem.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="JSON of all that was found.")] = None,
    ngram: Annotated[int, typer.Option(min=1, help="Words in a row that have to agree.")] = 13,
    min_share: Annotated[float, typer.Option(help="Share of a test problem's n-grams that is an overlap.")] = 0.5,
    data_dir: DataDir = None,
    question_field: QuestionField = None,
    answer_field: AnswerField = None,
) -> None:
    """Find test problems in training data, copied, retypeset or reworded; and write the data without them.

    Ends with code 1 if some are found and nothing is written that lacks them.
    """
    from rich.console import Console

    from thor_ray.files import write_text_atomically
    from thor_ray.problems import FieldNames
    from thor_ray.problems.decontamination import OverlapRule, contamination, index_test_sets, write_clean_rows
    from thor_ray.problems.sources import find_source, numbered_problems

    console = Console(highlight=False, soft_wrap=True)
    try:
        rule = OverlapRule(ngram, min_share)
    except ValueError as error:
        raise UserError(str(error), "--min-share 0.5 asks for half of the n-grams") from error
    sets = [name.strip() for name in against.split(",") if name.strip()]
    if not sets:
        raise UserError("--against names no test set", "for example --against math500,aime2024")
    source = find_source(train, data_dir)
    _require_places(source.label, output, report)
    index = index_test_sets(sets, rule, data_dir)
    found = contamination(source.label, numbered_problems(source, FieldNames(question_field, answer_field)), index)
    _print_contamination(found, console)
    if report is not None:
        write_text_atomically(report, json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
        console.print(f"report {report}", markup=False)
    if output is not None:
        written = write_clean_rows(source, found.contaminated_rows, output)
        console.print(f"{written} clean rows in {output}", markup=False)
    elif found.overlaps:
        raise typer.Exit(1)


def _find(benchmark: "Benchmark", data_dir: Path | None) -> _Found:
    from thor_ray.problems import ProblemFileError
    from thor_ray.problems.benchmarks import count_rows, find_file

    path = find_file(benchmark, data_dir)
    if path is None:
        return _Found()
    try:
        return _Found(path, count_rows(path))
    except ProblemFileError as error:
        return _Found(path, fault=str(error))


def _wrong(benchmark: "Benchmark", found: _Found) -> bool:
    return found.path is not None and found.rows != benchmark.size


def _entry(benchmark: "Benchmark") -> dict[str, Any]:
    """A benchmark's registered facts, in the words that people read."""
    tolerance = benchmark.grading.relative_tolerance
    return {
        "name": benchmark.name,
        "aliases": list(benchmark.aliases),
        "title": benchmark.title,
        "kind": str(benchmark.kind),
        "problems": benchmark.size,
        "in the paper": "yes" if benchmark.in_paper else "no",
        "grading": "exact" if tolerance is None else f"numbers within {float(tolerance):.0%} of the gold count",
        "prompt": benchmark.prompt,
        "samples": f"{benchmark.samples}: {benchmark.samples_origin}",
        "licence": benchmark.licence,
        "origin": benchmark.origin,
        "citation": benchmark.citation,
        "errata": list(benchmark.errata),
    }


def _place(found: _Found) -> dict[str, Any]:
    return {
        "file": None if found.path is None else str(found.path),
        "found": found.fault if found.fault is not None else found.rows,
    }


def _print_benchmarks(found: dict[str, _Found], data_dir: Path | None, console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    from thor_ray.problems import BENCHMARKS
    from thor_ray.problems.benchmarks import DATA_VARIABLE, data_directory

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "problems", "samples", "grading", "in the paper", "on this machine"):
        table.add_column(heading, no_wrap=True)
    for benchmark in BENCHMARKS:
        entry, place = _entry(benchmark), found[benchmark.name]
        where = Text("–") if place.path is None else Text(str(place.path))
        if place.fault is not None:
            where = Text(place.fault, style="bold red")
        elif _wrong(benchmark, place):
            where = Text(f"WRONG SIZE: {place.rows} of {benchmark.size} problems in {place.path}", style="bold red")
        tolerance = benchmark.grading.relative_tolerance
        table.add_row(
            benchmark.name,
            entry["kind"],
            str(benchmark.size),
            str(benchmark.samples),
            "exact" if tolerance is None else f"±{float(tolerance):.0%}",
            entry["in the paper"],
            where,
        )
    # Paths are worth a long line, above all where another program reads them.
    console.print(
        table, width=max(console.width, 100 + max(len(str(each.path)) for each in found.values())), crop=False
    )
    directory = data_directory(data_dir)
    looked = f"looked in {directory}" if directory else f"no folder to look in: give --data-dir, or set {DATA_VARIABLE}"
    console.print(f"{looked}; `thor problems show NAME` has licence, origin, citation and known errata", markup=False)


def _print_contamination(report: "ContaminationReport", console: "Console") -> None:
    for line in _contamination_lines(report):
        console.print(line, markup=False)


def _contamination_lines(report: "ContaminationReport") -> Iterator[str]:
    hits = report.hits_by_set()
    for name, rows in report.test_rows.items():
        short = f", {report.too_short[name]} of them shorter than {report.rule.ngram} words" * bool(
            report.too_short[name]
        )
        yield f"{name}: {rows} problems{short}; {hits[name]} training rows hold one"
    for overlap in report.overlaps[:_MOST_OVERLAPS_SHOWN]:
        kind = "the same" if overlap.exact else f"{overlap.share:.0%} of its n-grams"
        passage = max(overlap.passages, key=len, default="")
        shown = passage if len(passage) <= _PASSAGE_CHARACTERS else passage[:_PASSAGE_CHARACTERS] + "…"
        yield f"  {overlap.train_id} = {overlap.test_set}: {overlap.test_id} ({kind}) {shown}"
    if (more := len(report.overlaps) - _MOST_OVERLAPS_SHOWN) > 0:
        yield f"  … and {more} more; --report writes them all"
    share = len(report.contaminated_rows) / report.train_rows
    yield f"{len(report.contaminated_rows)} of {report.train_rows} training rows ({share:.2%}) hold a test problem"


def _require_places(train: str, *outputs: Path | None) -> None:
    """Refuses files that could not be written, or that would replace the training data, before the work."""
    for path in outputs:
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise UserError(f"there is no directory {path.parent}", "make it, or write somewhere else")
        if path.exists() and Path(train).exists() and path.samefile(train):
            raise UserError(f"{path} is the training data itself", "write to another file")
