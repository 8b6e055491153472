"""What a run would take on machines of several kinds: hours, workers and money, roughly."""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from encoder.errors import InputError
from encoder.storage.registry import normalize, store_for
from encoder.strict_json import parse_json
from pipeline.options import size_text
from pipeline.runs.foreseen import Foreseen

_TABLE = "machines.json"
_FLOAT32: Final = "float32"
_MOST_BYTES = 1 << 20
# Images a second that half a core decodes: 1.3 ms for a JPEG of 500x375 and a whole one, measured.
_DECODED_PER_CORE = 385


class Machine(NamedTuple):
    """A kind of machine.

    Attributes:
        name: as the provider calls it.
        usd_per_hour: its price.
        gflops: what it sustains, in 10⁹ operations a second, by precision.
        cores: that decode images; None for no limit by decoding.
        rate: images a second of this encoder; None to compute it from gflops.
        measured: whether the rate was measured.
    """

    name: str
    usd_per_hour: float | None
    gflops: Mapping[str, float]
    cores: float | None = None
    rate: float | None = None
    measured: bool = False

    def images_per_second(self, operations: int, precision: str) -> float | None:
        """The rate of an encoder, of so many operations an image; None if it can't be told."""
        gflops = self.gflops.get(precision, self.gflops.get(_FLOAT32))
        if self.rate is not None or not gflops or not operations:
            return self.rate
        return min(gflops * 1e9 / operations, (self.cores or math.inf) * _DECODED_PER_CORE)


def read_machines(path: str = "") -> list[Machine]:
    """Read a table of machines; by default the one that comes with this package.

    Raises:
        InputError: the file can't be read, or is no such table.
    """
    if not path:
        return _machines(importlib.resources.files("pipeline.cli").joinpath(_TABLE).read_text())
    try:
        place = normalize(path)
        data, _ = store_for(place).read(place, most=_MOST_BYTES)
        return _machines(data.decode())
    except (OSError, ValueError, InputError) as error:
        raise InputError(
            f"--machines {path!r}: {error}; expected JSON like pipeline/cli/{_TABLE}"
        ) from error


def _machines(text: str) -> list[Machine]:
    table = parse_json(text)
    rows = table.get("machines") if isinstance(table, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError("it has no list 'machines'")
    return [_machine(row, number) for number, row in enumerate(rows, 1)]


def _machine(row: object, number: int) -> Machine:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise ValueError(f"machine {number} has no 'name'")
    name, gflops = row["name"], row.get("gflops", {})
    names = ("usd_per_hour", "cores", "images_per_second")
    values = {each: row.get(each) for each in names}
    if not isinstance(gflops, dict):
        raise ValueError(f"machine {name!r}: gflops is {gflops!r}; expected {{'float32': NUMBER}}")
    for key, value in (*values.items(), *((f"gflops of {k!r}", v) for k, v in gflops.items())):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < math.inf):
            raise ValueError(f"machine {name!r}: {key} is {value!r}; expected a number above 0")
    if values["images_per_second"] is None and not gflops:
        raise ValueError(f"machine {name!r} has neither 'gflops' nor 'images_per_second'")
    return Machine(
        name,
        values["usd_per_hour"],
        gflops,
        values["cores"],
        values["images_per_second"],
        row.get("measured") is True,
    )


def size_line(foreseen: Foreseen) -> str:
    """The bytes that a run would read."""
    sizes = foreseen.sizes
    line = f"to read    {size_text(sizes.bytes)}"
    return f"{line} (and {sizes.unknown:,} of unknown size)" if sizes.unknown else line


def cost_lines(
    foreseen: Foreseen,
    machines: Sequence[Machine],
    operations: int,
    precision: str,
    within: float,
) -> list[str]:
    """A table: for each machine the hours of one, and how many finish in time, with the price.

    Args:
        foreseen: the plan.
        machines: the kinds of machines.
        operations: of the encoder for an image.
        precision: in which it computes.
        within: hours that the run may take.
    """
    images = foreseen.to_embed
    lines = [
        f"{images:,} images to embed, {operations / 1e9:,.1f} GFLOP each, in {precision}; "
        "start-up and waiting for storage are not in these numbers",
        f"{'machine':<24} {'images/s':>9} {'hours':>8} {f'for {within:g} h':>9} {'USD':>9}",
    ]
    for machine in machines:
        rate = machine.images_per_second(operations, precision)
        if rate is None:
            continue
        hours = images / rate / 3600
        price = f"{hours * machine.usd_per_hour:,.2f}" if machine.usd_per_hour else "-"
        basis = "" if machine.measured else "  estimate, not measured"
        workers = max(math.ceil(hours / within), 1)
        lines.append(
            f"{machine.name:<24} {rate:>9,.1f} {hours:>8,.2f} {workers:>9,} {price:>9}{basis}"
        )
    return lines


def table_note(path: str) -> str:
    """Where prices and rates come from."""
    if path:
        return f"note: prices and rates are those of {path}"
    text = importlib.resources.files("pipeline.cli").joinpath(_TABLE).read_text()
    as_of = json.loads(text)["as_of"]
    return (
        f"note: prices are rough list prices of {as_of} that differ by region and time; give your "
        "own by --machines, and this machine's rate by --rate measure"
    )
