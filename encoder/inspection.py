"""What ``python -m encoder inspect`` shows of a trained network."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from encoder.errors import InputError
from encoder.graph import Graph, Step, trace
from encoder.taps import auto_tap


def describe(model: Any, input_size: tuple[int, int] | None = None) -> dict[str, Any]:
    """A model's layers, and what "auto" takes, as plain values.

    Returns:
        ``{"name", "layers": [{"index", "negative_index", "name", "type", "output_shape",
        "parameters", "role"}], "auto": {"layer", "reason"}}``. The role is "input", "encoder",
        "tap", "cut off" or "" (where auto can't tell). Indices are None inside nested models.
    """
    graph = trace(model, input_size)
    try:
        tap = auto_tap(graph)
    except InputError as error:
        auto: dict[str, Any] = {"layer": None, "reason": str(error)}
        needed = None
    else:
        auto = {"layer": tap.step.name, "reason": tap.reason}
        needed = _needed_for(graph, tap.step)
    rows = [_row(graph, step, needed, auto["layer"]) for step in graph.steps]
    return {"name": model.name, "layers": rows, "auto": auto}


def print_description(description: dict[str, Any], console: Console) -> None:
    """The description as a table for people."""
    table = Table(
        title=f"{description['name']}: {len(description['layers'])} layers",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("index", "from end", "name", "type", "output", "parameters", ""):
        numeric = column in ("index", "from end", "parameters")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    styles = {"tap": "bold green", "cut off": "dim", "input": "cyan"}
    for row in description["layers"]:
        shape = "x".join("?" if side is None else str(side) for side in row["output_shape"][1:])
        table.add_row(
            "" if row["index"] is None else str(row["index"]),
            "" if row["index"] is None else str(row["negative_index"]),
            row["name"],
            row["type"],
            shape,
            f"{row['parameters']:,}",
            "<- auto" if row["role"] == "tap" else row["role"],
            style=styles.get(row["role"]),
        )
    console.print(table)
    console.print(f"auto: {description['auto']['reason']}")


def _row(graph: Graph, step: Step, needed: set[int] | None, auto: str | None) -> dict[str, Any]:
    index = step.place
    if step.is_input:
        role = "input"
    elif needed is None:
        role = ""
    elif step.name == auto:
        role = "tap"
    else:
        role = "encoder" if id(step.output) in needed else "cut off"
    return {
        "index": index,
        "negative_index": None if index is None else index - graph.layer_count,
        "name": step.name,
        "type": type(step.layer).__name__,
        "output_shape": list(step.shape),
        "parameters": step.layer.count_params() if hasattr(step.layer, "count_params") else 0,
        "role": role,
    }


def _needed_for(graph: Graph, tap: Step) -> set[int]:
    makers = {id(tensor): step for step in graph.steps for tensor in step.outputs}
    needed: set[int] = set()
    waiting = list(tap.outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in needed:
            needed.add(id(tensor))
            waiting.extend(makers[id(tensor)].inputs)
    return needed
