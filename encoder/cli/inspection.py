"""What ``python -m encoder inspect`` shows of a trained network."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from encoder.compute.engines.registry import backend
from encoder.compute.machine import precision_gain
from encoder.errors import InputError
from encoder.network.backbones import recognize
from encoder.network.graph import Graph, Step, makers_of, trace
from encoder.network.taps import auto_tap


def describe(
    model: Any, input_size: tuple[int, int] | None = None, input_name: str | None = None
) -> dict[str, Any]:
    """A model's layers, and what "auto" takes, as plain values.

    Returns:
        ``{"name", "layers": [{"index", "negative_index", "name", "type", "output_shape",
        "parameters", "role"}], "auto": {"layer", "reason"}, "preprocess": {"mode", "reason"}}``.
        The role is "input", "encoder", "tap", "cut off" or "" (where auto finds no tap). Indices are
        None inside nested models.
    """
    graph = trace(model, input_size, input_name)
    try:
        tap = auto_tap(graph)
    except InputError as error:
        auto: dict[str, Any] = {"layer": None, "reason": str(error)}
        needed = None
    else:
        auto = {"layer": tap.step.name, "reason": tap.reason}
        needed = makers_of(graph, tap.step.outputs)
    rows = [_row(graph, step, needed, auto["layer"]) for step in _as_listed(graph)]
    for row in rows:  # a nested model is needed where anything in it is
        inner = [other["role"] for other in rows if other["name"].startswith(f"{row['name']}/")]
        if row["role"] == "cut off" and set(inner) & {"encoder", "tap"}:
            row["role"] = "encoder"
    preprocess = recognize(graph)._asdict()
    return {"name": model.name, "layers": rows, "auto": auto, "preprocess": preprocess}


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
    console.print(f"auto: {description['auto']['reason']}", markup=False, highlight=False)
    found = description["preprocess"]
    text = f"preprocess {found['mode']}: {found['reason']}"
    console.print(text, markup=False, highlight=False)
    gain = precision_gain(backend().devices()[0].is_gpu)
    console.print(f"precision: {gain}", markup=False, highlight=False)


def _as_listed(graph: Graph) -> list[Step]:
    """The steps in the order of ``model.layers``, a nested model before its own layers."""
    places = {layer.name: place for place, layer in enumerate(graph.model.layers)}
    keys, place = {}, 0
    for step in graph.steps:
        outermost = step.name.partition("/")[0].partition(":")[0]
        place = places.get(outermost, place)  # an operation stays behind the layer before it
        keys[step.name] = (-1 if step.is_input else place, not step.is_model)
    return sorted(graph.steps, key=lambda step: keys[step.name])


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
