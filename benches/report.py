"""The figures as a page with plots."""

import math
import statistics
from pathlib import Path

from measure import Taken

COLOURS = ["#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3"]


def spread(taken: Taken) -> str:
    return f"{(max(taken.wall) - min(taken.wall)) / 2 / taken.median:.0%}"


def seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def loads(title: str, by_size: dict[int, dict[str, Taken]], base: str) -> list[str]:
    """A table: each size, each way, as a ratio of the floor, and of one peer."""
    lines = ["", f"### {title}", "", f"| size | what | median | ± | of `{base}` | peak memory |", "| ---: | --- | ---: | ---: | ---: | ---: |"]
    for size, taken in by_size.items():
        for name, one in taken.items():
            ratio = f"{one.median / taken[base].median:.2f}"
            memory = f"{one.memory / 1024:.0f} MiB" if one.memory else ""
            lines.append(f"| {size:,} | {name} | {seconds(one.median)} | {spread(one)} | {ratio} | {memory} |")
    return lines


def rates(all_rates: dict[str, dict[str, Taken]]) -> list[str]:
    lines = ["", "| what | under | median | ± | ratio |", "| --- | --- | ---: | ---: | ---: |"]
    for what, taken in all_rates.items():
        base = next(iter(taken.values()))
        for name, one in taken.items():
            lines.append(f"| {what} | {name} | {statistics.median(one.wall):,.0f} | {spread(one)} | {one.median / base.median:.3f} |")
    return lines


def plot(path: Path, title: str, by_size: dict[int, dict[str, Taken]]) -> None:
    """Seconds by size, both by powers of ten."""
    width, height, left, bottom, top = 760, 400, 70, 50, 40
    names = list(dict.fromkeys(name for taken in by_size.values() for name in taken))
    values = [one.median for taken in by_size.values() for one in taken.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(min(by_size)), math.log10(max(by_size))
    plot_width, plot_height = width - left - 220, height - bottom - top

    def x(size: int) -> float:
        return left + (math.log10(size) - first) / max(last - first, 1) * plot_width

    def y(value: float) -> float:
        return top + (high - math.log10(value)) / max(high - low, 1) * plot_height

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="15">{title}</text>',
    ]
    for power in range(low, high + 1):
        at = y(10**power)
        label = {0: "1 s", -1: "100 ms", -2: "10 ms", -3: "1 ms", -4: "0.1 ms"}.get(power, f"{10 ** power} s")
        out.append(f'<line x1="{left}" x2="{left + plot_width}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for size in by_size:
        out.append(f'<text x="{x(size):.1f}" y="{height - bottom + 20}" text-anchor="middle">{size:,}</text>')
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x(size), y(taken[name].median)) for size, taken in by_size.items() if name in taken]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.extend(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points)
        key = top + 10 + number * 20
        out.append(f'<rect x="{left + plot_width + 20}" y="{key - 9}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{left + plot_width + 38}" y="{key + 2}">{name}</text>')
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n")
