"""Turn the scores.csv of `mmln evaluate` into the Markdown tables of BENCHMARKS.md.

python Testing/Benchmarks/scores_table.py RESULTS/scores.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

COLUMNS = (
    ("Dice, affine", "coarse_dice_initial", "{:.3f}"),
    ("coarse Dice", "coarse_dice", "{:.3f}"),
    ("fine Dice", "fine_dice", "{:.3f}"),
    ("folded, strict", "folded_voxels", "{:.0f}"),
    ("repaired", "folded_before_repair", "{:.0f}"),
    ("J min", "jacobian_min", "{:.2f}"),
    ("J max", "jacobian_max", "{:.1f}"),
    ("SD log J", "sd_log_jacobian", "{:.2f}"),
    ("TC", "tc", "{:.3f}"),
    ("V ratio", "volume_ratio", "{:.3f}"),
    ("inverse median mm", "inverse_median_mm", "{:.5f}"),
    ("95 % mm", "inverse_p95_mm", "{:.5f}"),
    ("s", "seconds", "{:.1f}"),
)


def main(scores: Path) -> None:
    """Print the table of the pairs, and that of the steps."""
    with scores.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    print("| fixed <- moving |", " | ".join(title for title, _, _ in COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for row in rows:
        pair = " <- ".join(row[name].partition("_")[0] for name in ("fixed", "moving"))
        print(f"| {pair} |", " | ".join(form.format(float(row[name])) for _, name, form in COLUMNS), "|")
    print("| **mean** |", " | ".join(form.format(mean(rows, name)) for _, name, form in COLUMNS), "|")
    print("\n| step | seconds, mean | peak memory, GiB, largest |\n|---|---|---|")
    for step in (name.removeprefix("seconds ") for name in rows[0] if name.startswith("seconds ")):
        peak_gib = max(float(row[f"peak_memory_bytes {step}"]) for row in rows) / 2**30
        print(f"| {step} | {mean(rows, f'seconds {step}'):.1f} | {peak_gib:.2f} |")


def mean(rows: list[dict[str, str]], name: str) -> float:
    """Mean of a column."""
    return sum(float(row[name]) for row in rows) / len(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
