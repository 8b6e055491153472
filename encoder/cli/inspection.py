"""Describe a trained network for ``python -m encoder inspect``."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, TypedDict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from encoder.compute.engines.keras.registry import backend
from encoder.compute.engines.ncnn.convert import convert
from encoder.compute.engines.ncnn.layers.reading import NotConvertibleError
from encoder.compute.machine import precision_gain
from encoder.errors import InputError
from encoder.network.backbones import recognize
from encoder.network.cut import Recipe, cut_encoder
from encoder.network.graph import Graph, LeftOut, Step, makers_of, trace, what_is_left_out
from encoder.network.taps import auto_tap, short_vectors
from encoder.stand_ins import WAY_ON
from encoder.terminal import console, say

if TYPE_CHECKING:
    import keras

Role = Literal["input", "encoder", "tap", "cut off", ""]
_COLUMNS = ("index", "from end", "name", "type", "output", "parameters", "")
_WIDEST = 1000  # characters; to measure a table that does not fit
_STYLES = {"tap": "bold green", "cut off": "dim", "input": "cyan"}


class LayerRow(TypedDict):
    """One use of a layer; `index` and `negative_index` are None inside nested models.

    `role` is "" for all layers but inputs if "auto" finds no tap.
    """

    index: int | None
    negative_index: int | None
    name: str
    type: str
    output_shape: list[int | None]
    parameters: int
    role: Role


class AutoTap(TypedDict):
    """The layer that "auto" takes, None if it finds no tap, and the reason."""

    layer: str | None
    reason: str


class Preprocess(TypedDict):
    """The preprocessing mode that fits the network, and the reason."""

    mode: str
    reason: str


class LeftOutRow(TypedDict):
    """A layer that is left out, and the code that it needs; "" if it is behind such a layer."""

    name: str
    reason: str


class EngineRow(TypedDict):
    """What could compute the encoder up to the layer that "auto" takes; None if there is none."""

    engine: Literal["ncnn", "keras"] | None
    reason: str


class Description(TypedDict):
    """What ``inspect --json`` prints."""

    name: str
    layers: list[LayerRow]
    auto: AutoTap
    preprocess: Preprocess
    engine: EngineRow
    left_out: list[LeftOutRow]


def describe(
    model: keras.Model, input_size: tuple[int, int] | None = None, input_name: str | None = None
) -> Description:
    """A model's layers, the tap that "auto" takes, and the preprocessing that fits.

    Args:
        model: the trained network.
        input_size: (height, width) in pixels, for a network that takes any size.
        input_name: the image input of a network with several inputs.

    Raises:
        InputError: the network can't be traced from an image input.
    """
    graph = trace(model, input_size, input_name)
    try:
        tap = auto_tap(graph)
    except InputError as error:
        auto: AutoTap = {"layer": None, "reason": str(error)}
        needed = None
    else:
        short = short_vectors([tap], tap.step.shape[-1] or 0)
        reason = f"{tap.reason}; {short}" if short else tap.reason
        auto = {"layer": tap.step.name, "reason": reason}
        needed = makers_of(graph, tap.step.outputs)
    rows = [_row(graph, step, needed, auto["layer"]) for step in _as_listed(graph)]
    for row in rows:  # a nested model belongs to the encoder if one of its layers does
        inner = [other["role"] for other in rows if other["name"].startswith(f"{row['name']}/")]
        if row["role"] == "cut off" and set(inner) & {"encoder", "tap"}:
            row["role"] = "encoder"
    found = recognize(graph)
    engine = _engine(model, Recipe("auto", input_size=input_size, input_name=input_name))
    return {
        "name": model.name,
        "layers": rows,
        "auto": auto,
        "preprocess": {"mode": found.mode, "reason": found.reason},
        "engine": engine,
        "left_out": [{"name": each.name, "reason": each.reason} for each in graph.left_out],
    }


def print_description(description: Description) -> None:
    """Print the description as a table.

    On a narrow terminal, columns are left out before long names are folded. A file or another
    program gets the whole table.
    """
    shown_on = console()
    wide = shown_on.options.update(width=_WIDEST)
    if not shown_on.is_terminal:
        shown_on.width = max(
            shown_on.width, shown_on.measure(_table(description, ()), options=wide).maximum
        )
    for left_out in ((), ("parameters",), ("parameters", "from end")):
        table = _table(description, left_out)
        if shown_on.measure(table, options=wide).maximum <= shown_on.width:
            break
    shown_on.print(table)
    if left_out:
        say(f"{shown_on.width} characters a line are too few for: {', '.join(left_out)}")
    say(f"auto: {description['auto']['reason']}")
    parts = [LeftOut(row["name"], row["reason"], ()) for row in description["left_out"]]
    if parts:
        say(f"loaded without {what_is_left_out(parts)}. {WAY_ON}")
    found = description["preprocess"]
    say(f"preprocess {found['mode']}: {found['reason']}")
    say(f"engine: {description['engine']['reason']}")
    gain = precision_gain(backend().devices()[0].is_gpu)
    say(f"precision: {gain}")


def _table(description: Description, left_out: Collection[str]) -> Table:
    table = Table(
        title=f"{description['name']}: {len(description['layers'])} layers",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    shown = [name for name in _COLUMNS if name not in left_out]
    for name in shown:
        numeric = name in ("index", "from end", "parameters")
        table.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=name != "name",
        )
    for row in description["layers"]:
        cells = {
            "index": "" if row["index"] is None else str(row["index"]),
            "from end": "" if row["index"] is None else str(row["negative_index"]),
            "name": row["name"],
            "type": row["type"],
            "output": "x".join(
                "?" if side is None else str(side) for side in row["output_shape"][1:]
            ),
            "parameters": f"{row['parameters']:,}",
            "": "<- auto" if row["role"] == "tap" else row["role"],
        }
        table.add_row(*(cells[name] for name in shown), style=_STYLES.get(row["role"]))
    return table


def _engine(model: keras.Model, recipe: Recipe) -> EngineRow:
    """Whether ncnn knows all layers up to the tap. Only extract computes with it."""
    try:
        cut = cut_encoder(model, recipe)
        if None in cut.backbone.input_shape[1:]:
            return {"engine": None, "reason": "not known before there is an --input-size"}
        convert(cut.backbone)
    except InputError:
        return {"engine": None, "reason": "not known before there is a --layer"}
    except NotConvertibleError as error:
        return {"engine": "keras", "reason": f"Keras; ncnn can't compute it: {error}"}
    reason = "ncnn knows all layers up to there, and extract tries it; or Keras"
    return {"engine": "ncnn", "reason": reason}


def _as_listed(graph: Graph) -> list[Step]:
    """The steps in the order of ``model.layers``; a nested model comes before its layers."""
    places = {layer.name: place for place, layer in enumerate(graph.model.layers)}
    keys, place = {}, 0
    for step in graph.steps:
        outermost = step.name.partition("/")[0].partition(":")[0]
        place = places.get(outermost, place)  # an operation follows the layer before it
        keys[step.name] = (-1 if step.is_input else place, not step.is_model)
    return sorted(graph.steps, key=lambda step: keys[step.name])


def _row(graph: Graph, step: Step, needed: set[int] | None, auto: str | None) -> LayerRow:
    index = step.place
    return {
        "index": index,
        "negative_index": None if index is None else index - graph.layer_count,
        "name": step.name,
        "type": type(step.layer).__name__,
        "output_shape": list(step.shape),
        "parameters": step.layer.count_params() if hasattr(step.layer, "count_params") else 0,
        "role": _role(step, needed, auto),
    }


def _role(step: Step, needed: set[int] | None, auto: str | None) -> Role:
    if step.is_input:
        return "input"
    if needed is None:
        return ""
    if step.name == auto:
        return "tap"
    return "encoder" if id(step.output) in needed else "cut off"
