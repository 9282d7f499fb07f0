"""The report as a picture: for each storage, its appends beside the bare driver and the peers, and by callers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oacp_storage_bench.results import Report, Row, Side
from oacp_storage_bench.wording import number
from oacp_storage_core import StorageConfigError

_COLOURS: dict[Side, str] = {"ours": "#0b6e4f", "raw": "#9aa0a6", "peer": "#d08c60"}


def draw(report: Report, path: Path) -> None:
    """Write the picture as SVG (or what else the name's ending says). ``StorageConfigError`` without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as exc:
        raise StorageConfigError("a plot needs matplotlib: pip install 'oacp-storage-bench[plot]'") from exc
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [one for one in report.storages if report.row(one.label, "append.callers.1")]
    # Text stays text: half of the size, and it can be searched.
    with mpl.rc_context({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "oacp-storage-bench"}):
        figure = Figure(figsize=(13, 0.9 + 2.5 * max(len(shown), 1)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_title(report), fontsize=11)
        axes = figure.subplots(max(len(shown), 1), 3, squeeze=False, width_ratios=(3, 3, 2))
        for (one_caller, many, growth), storage in zip(axes, shown, strict=False):
            _bars(one_caller, _rows(report, storage.label, "1"), f"{storage.label}: 1 caller")
            _bars(many, _rows(report, storage.label, "64"), f"{storage.label}: 64 callers")
            _by_callers(growth, report, storage.label)
        handles, labels = axes[0][2].get_legend_handles_labels()  # the same in all of them
        figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False, fontsize=8)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _title(report: Report) -> str:
    here = report.machine
    return (
        f"Durable appends of 1 KB a second; bars are medians of {report.rounds} rounds, lines their least and most\n"
        f"{here.processor}, {here.cores} cores, fsync {here.fsync_ms} ms, {report.started[:10]}, "
        f"profile {report.profile}"
    )


def _rows(report: Report, label: str, callers: str) -> list[Row]:
    """Ours first, then raw and peers, those that are compared with ours at that number of callers."""
    ours = report.row(label, f"append.callers.{callers}")
    if ours is None:
        return []
    others = [report.row(label, key) for key in ours.against]
    return [ours, *(row for row in others if row is not None)]


def _bars(axes: Any, rows: list[Row], title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    places = range(len(rows))
    medians = [row.median for row in rows]
    low = [row.median - min(row.values) for row in rows]
    high = [max(row.values) - row.median for row in rows]
    ours = rows[0].durability if rows else "unknown"
    axes.barh(
        places,
        medians,
        xerr=[low, high],
        color=[_COLOURS[row.side] for row in rows],
        ecolor="#444",
        height=0.7,
    )
    names = [_name(row) + ("" if row.durability == ours else f" ({row.durability} only)") for row in rows]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    most = max((max(row.values) for row in rows), default=1)
    for place, row in zip(places, rows, strict=True):
        axes.text(max(row.values) + most * 0.02, place, number(row.median), va="center")
    axes.set_xlim(0, most * 1.22)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=4)


def _name(row: Row) -> str:
    if row.side == "ours":
        return "oacp-storage"
    return (
        f"{row.who.partition(',')[0]}, {row.what.removeprefix('append, ')}" if row.side == "raw" else row.who
    )


def _by_callers(axes: Any, report: Report, label: str) -> None:
    axes.set_title("by callers", loc="left", fontweight="bold")
    rows = [row for row in report.of(label) if row.key.startswith("append.callers.")]
    rows.sort(key=_callers)
    places = range(len(rows))
    axes.plot(places, [row.median for row in rows], "o-", color=_COLOURS["ours"], label="oacp-storage")
    low, high = [min(row.values) for row in rows], [max(row.values) for row in rows]
    axes.fill_between(places, low, high, color=_COLOURS["ours"], alpha=0.15)
    for row in report.of(label):
        if row.key.endswith(".append.batch64"):
            axes.axhline(row.median, color=_COLOURS["raw"], linestyle="--", label="bare, commits of 64")
    axes.set_xticks(places, [str(_callers(row)) for row in rows])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("callers at once")
    axes.spines[["top", "right"]].set_visible(False)


def _callers(row: Row) -> int:
    return int(row.key.rpartition(".")[2])
