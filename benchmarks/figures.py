"""The benchmark's figures as files: JSON for programs, and a table and a plot for docs/speed.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Figure = dict[str, Any]

# What encloses the table in docs/speed.md.
BEGIN, END = "<!-- figures -->\n", "\n<!-- end -->"


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the JSON file, beside it the plot as SVG, and the table into speed.md where that is there, too."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    figures = content["figures"]
    draw(path.with_suffix(".svg"), figures)
    page = path.with_name("speed.md")
    if page.is_file():
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}{table(figures)}{END}{rest.partition(END)[2]}", encoding="utf-8")


def table(figures: list[Figure]) -> str:
    """A Markdown table: ratio with its lowest and highest, target, rate, and processor time."""
    lines = [
        "| figure | ratio (lowest to highest) | target | a second | CPU each | the limit's CPU |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for figure in figures:
        rate = f"{figure['ours']:,.{0 if figure['ours'] >= 10 else 1}f} {figure['unit'].partition('/')[0]}"
        spread = f"{figure['ratio']:.2f} ({figure['lowest']:.2f} to {figure['highest']:.2f})"
        times = f"{duration(figure['cpu_ns'])} | {duration(figure['limit_cpu_ns'])}"
        lines.append(f"| {figure['name']} | {spread} | {figure['target']:.2f} | {rate} | {times} |")
    return "\n".join(lines)


def verdict(figure: Figure) -> str:
    """`0.84 of 0.95`: the ratio and its target."""
    return f"{figure['ratio']:.2f} of {figure['target']:.2f}"


def duration(nanoseconds: float) -> str:
    """`850 ns`, `2.4 us`, `310 us`, `1.2 s`."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def draw(path: Path, figures: list[Figure]) -> None:
    """Each ratio as a share of its target, with its lowest and highest; the line is the target."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Picture

    with mpl.rc_context({"svg.hashsalt": "millrace", "svg.fonttype": "none", "font.size": 10}):
        picture = Picture(figsize=(9, 0.8 + 0.34 * len(figures)), layout="constrained")
        axes = picture.add_subplot()
        names = [figure["name"] for figure in figures]
        shares = [figure["ratio"] / figure["target"] for figure in figures]
        ranges = [
            [(figure["ratio"] - figure["lowest"]) / figure["target"] for figure in figures],
            [(figure["highest"] - figure["ratio"]) / figure["target"] for figure in figures],
        ]
        colours = ["#2a7f62" if share >= 1 else "#b5651d" for share in shares]
        axes.barh(names, shares, xerr=ranges, color=colours, ecolor="#777777", height=0.6)
        axes.axvline(1, color="#333333", linewidth=1)
        for number, figure in enumerate(figures):
            axes.annotate(
                f"{figure['ratio']:.2f} of {figure['target']:.2f}", (0.02, number), va="center", color="white"
            )
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.6), xlabel="ratio to the limit, as a share of the target (a longer bar is cut)")
        axes.spines[["top", "right"]].set_visible(False)
        FigureCanvasSVG(picture).print_svg(str(path), metadata={"Date": None})  # type: ignore[no-untyped-call]
