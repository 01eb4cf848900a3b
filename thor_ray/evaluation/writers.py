"""Reports as files: JSON for programs, Markdown for texts, a page for people. Each is whole or absent."""

from pathlib import Path
from typing import Final

from thor_ray.errors import UserError
from thor_ray.evaluation.figures import ComparisonReport, EvaluationReport
from thor_ray.evaluation.markdown import comparison_markdown, evaluation_markdown
from thor_ray.evaluation.page import comparison_page, evaluation_page
from thor_ray.files import write_text_atomically

REPORT: Final = "report"
COMPARISON: Final = "comparison"


def write_evaluation(directory: Path, report: EvaluationReport) -> list[Path]:
    """Writes ``report.json``, ``report.md`` and ``report.html``.

    Returns:
        The files.

    Raises:
        UserError: no directory can be made there.
        DiskFullError: no room.
    """
    texts = (report.model_dump_json(indent=2) + "\n", evaluation_markdown(report), evaluation_page(report))
    return _write(directory, REPORT, texts)


def write_comparison(directory: Path, report: ComparisonReport) -> list[Path]:
    """Writes ``comparison.json``, ``comparison.md`` and ``comparison.html``.

    Returns:
        The files.

    Raises:
        UserError: no directory can be made there.
        DiskFullError: no room.
    """
    texts = (report.model_dump_json(indent=2) + "\n", comparison_markdown(report), comparison_page(report))
    return _write(directory, COMPARISON, texts)


def _write(directory: Path, stem: str, texts: tuple[str, str, str]) -> list[Path]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{directory} cannot hold reports: {error.strerror}", "choose another place") from error
    paths = [directory / f"{stem}.{suffix}" for suffix in ("json", "md", "html")]
    for path, text in zip(paths, texts, strict=True):
        write_text_atomically(path, text)
    return paths
