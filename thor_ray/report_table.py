"""What a report says, on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from thor_ray.texts import claim_text, percent, policy_label


def print_report_table(report: Mapping[str, Any], console: Console) -> None:
    """Prints what a report says of each evaluated policy, in 80 columns, then its claims and alarms."""
    table = Table("policy", box=None, pad_edge=False, header_style="bold")
    for heading in ("pass@1", "95 %", "use code", "code runs", "tokens", "samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, stage in report["stages"].items():
        low, high = stage["pass_at_1_interval"]
        table.add_row(
            policy_label(name),
            percent(stage["pass_at_1"]),
            f"{low * 100:.1f}–{high * 100:.1f}",
            percent(stage["code_ratio"]),
            percent(stage["code_pass_rate"]),
            f"{stage['kept_tokens']:.0f}" + (f" + {cut:.0f} cut" if (cut := stage["discarded_tokens"]) else ""),
            f"{stage['problems']} × {stage['samples_per_problem']}",
        )
    console.print(table)
    for claim in report["claims"]:
        mark = Text("holds ", "bold green") if claim["holds"] else Text("FAILS ", "bold red")
        console.print(mark + Text(claim_text(claim)))
    for alarm in report["alarms"]:
        console.print(Text.assemble(("alarm ", "bold yellow"), alarm["sentence"]), soft_wrap=True)
