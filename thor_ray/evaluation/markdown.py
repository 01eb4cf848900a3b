"""Reports as Markdown, for pull requests and papers."""

from collections.abc import Iterable, Iterator

from thor_ray.evaluation.beside_paper import paper_section
from thor_ray.evaluation.comparison_tables import comparison_sections
from thor_ray.evaluation.evaluation_tables import evaluation_sections
from thor_ray.evaluation.figures import ComparisonReport, EvaluationReport
from thor_ray.evaluation.paper import paper
from thor_ray.evaluation.sections import Row, Section, Table, settings_rows


def evaluation_markdown(report: EvaluationReport) -> str:
    """One evaluation, our figures beside the paper's where both have a benchmark."""
    sections = evaluation_sections(report)
    if (beside := paper_section(report, paper())) is not None:
        sections.append(beside)
    if settings := settings_rows(report.about):
        sections.append(Section("Settings", (Table(("setting", "value"), tuple(map(Row, settings))),)))
    return document(f"{report.about.name}: evaluation", [f"Rows from {report.about.source}."], sections)


def comparison_markdown(report: ComparisonReport) -> str:
    """Two evaluations side by side."""
    lines = [f"a: {report.a.name}", f"b: {report.b.name}"]
    return document(f"{report.a.name} against {report.b.name}", lines, comparison_sections(report))


def document(title: str, lines: Iterable[str], sections: Iterable[Section]) -> str:
    """A heading, a line for each of ``lines``, and sections of tables."""
    blocks = [f"# {escape(title)}", *map(escape, lines)]
    for section in sections:
        blocks.append(f"## {section.title}")
        for table in section.tables:
            blocks += [f"**{escape(table.caption)}**"] if table.caption else []
            blocks.append("\n".join(_table(table)))
        blocks += map(escape, section.notes)
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> Iterator[str]:
    yield _line(table.headings)
    yield _line("---:" if numeric else "---" for numeric in table.numeric)
    for row in table.rows:
        cells = [escape(cell) for cell in row.cells]
        yield _line([f"**{cell}**" if row.ours and cell else cell for cell in cells])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Text that means itself in a Markdown table: one line, no cell borders, no markup."""
    one_line = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\`*_[]<>|" else character for character in one_line)
