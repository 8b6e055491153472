"""The command line: ``python -m encoder inspect | extract | imagenet``."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence

from encoder import __version__
from encoder.compute.keras_setup import import_keras
from encoder.errors import CutMismatchError, InputError
from encoder.isolation import restrict
from encoder.printable import json_text
from encoder.spec import DECODES, FITS, POOLINGS, PRECISIONS, PREPROCESS_MODES, RESIZES, EncoderSpec
from encoder.storage.base import StorageSettings, configure
from encoder.storage.registry import check_reachable, is_remote, normalize
from encoder.terminal import Parser, report, run_command, say, say_data


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code (0 done, 1 failed, 2 wrong command line)."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    parser.check_filled(words)
    options = parser.parse_args(_with_joined_layers(words))
    try:
        configure(StorageSettings(options.user_project))
        for name in ("model", "output"):  # before the slow import of TensorFlow
            if path := getattr(options, name, None):
                try:
                    check_reachable(normalize(path))
                except OSError as error:
                    raise InputError(str(error)) from error
        is_own_process = arguments is None
        if (
            is_own_process
            and hasattr(options, "model")
            and not (options.trust or options.custom_objects)
            and not getattr(options, "builder", None)
        ):
            _isolate(options)
        import_keras()
        return int(options.command(options))
    except (Exception, KeyboardInterrupt) as error:
        return report(error, (InputError, CutMismatchError, OSError), options.verbose)


def _isolate(options: argparse.Namespace) -> None:
    """Take rights that a model of strangers might use; see encoder.isolation.

    Writing stays allowed where the command writes, in the folder for temporary files, and in /dev,
    where drivers of GPUs are. Code that the user allows may do what it wants.
    """
    names = ["output", "plot", *(["model"] if options.command is _compile else [])]
    written = [normalize(path) for name in names if (path := getattr(options, name, None))]
    is_there = any(map(is_remote, [normalize(options.model), *written]))
    local = [_existing(path) for path in written if not is_remote(path)]
    restrict([tempfile.gettempdir(), "/dev", *local], network=is_there)


def _existing(path: str) -> str:
    """The folder at a local path, or else the next one above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def build_parser() -> Parser:
    """The parser for all commands and options of ``python -m encoder``."""
    parser = Parser(
        prog="python -m encoder", description="Get the encoder out of a trained Keras network."
    )
    parser.add_argument(
        "--version", action="version", version=f"image-collection-embeddings {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    inspect = commands.add_parser("inspect", help="list a network's layers and what auto takes")
    inspect.add_argument("model", metavar="MODEL", help=".keras, .h5 or SavedModel, local or gs://")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of a table")
    inspect.add_argument("--plot", metavar="FILE", help="draw the network, as .png or .svg")
    _add_model_options(inspect)
    inspect.set_defaults(command=_inspect)

    extract = commands.add_parser("extract", help="cut the encoder out and save it as a bundle")
    extract.add_argument("model", metavar="MODEL", help=".keras, .h5 or SavedModel, local or gs://")
    extract.add_argument("--output", required=True, metavar="DIR", help="folder for the bundle")
    extract.add_argument(
        "--layer", default="auto", help="name, index, negative index, several with commas, or auto"
    )
    extract.add_argument("--pooling", default="gap", choices=POOLINGS)
    extract.add_argument("--gem-p", type=float, default=3.0, help="exponent of gem; default 3")
    extract.add_argument("--normalize", action="store_true", help="scale vectors to unit length")
    extract.add_argument(
        "--preprocess",
        choices=PREPROCESS_MODES,
        help="as it was in training; default: that of the keras.applications backbone, else none",
    )
    extract.add_argument(
        "--resize",
        default="bilinear",
        choices=RESIZES,
        metavar="FILTER",
        help=f"Pillow's filter: {', '.join(RESIZES)}; default bilinear",
    )
    extract.add_argument("--fit", default="stretch", choices=FITS)
    extract.add_argument(
        "--decode",
        default="exact",
        choices=DECODES,
        help="fast: large JPEGs at a part of their size, for vectors that differ a little",
    )
    extract.add_argument(
        "--background", default=(0, 0, 0), type=_color, metavar="R,G,B", help="default 0,0,0"
    )
    extract.add_argument("--precision", default="float32", choices=PRECISIONS)
    _add_model_options(extract)
    extract.set_defaults(command=_extract)

    imagenet = commands.add_parser("imagenet", help="save VGG16 trained on ImageNet as a bundle")
    imagenet.add_argument("--output", required=True, metavar="DIR", help="folder for the bundle")
    imagenet.add_argument(
        "--weights", metavar="FILE", help="weights file, instead of Keras' own download"
    )
    imagenet.set_defaults(command=_imagenet)
    compile_ = commands.add_parser(
        "compile", help="give a bundle of an earlier version its compiled form, for --engine ncnn"
    )
    compile_.add_argument("model", metavar="DIR", help="the bundle's folder, local or gs://")
    _add_code_options(compile_)
    compile_.set_defaults(command=_compile)
    for command in (extract, imagenet):
        command.add_argument(
            "--force", action="store_true", help="replace the bundle of another encoder at --output"
        )
    for command in (inspect, extract, imagenet, compile_):
        command.add_argument(
            "--user-project",
            default="",
            metavar="PROJECT",
            help="that pays for requests to buckets whose requester pays",
        )
        command.add_argument("--verbose", action="store_true", help="show tracebacks")
    return parser


def _with_joined_layers(words: Sequence[str]) -> list[str]:
    """Turn ``--layer -20,-10`` into ``--layer=-20,-10``: argparse takes ``-20`` for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--layer" and re.match(r"-\d", word):
            joined[-1] = f"--layer={word}"
        else:
            joined.append(word)
    return joined


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input-size", type=_size, metavar="HxW", help="for a network that takes any size"
    )
    parser.add_argument("--input", metavar="NAME", help="which of several inputs takes the image")
    _add_code_options(parser)
    parser.add_argument(
        "--builder", metavar="MODULE:FUNCTION", help="makes the network for a file of weights"
    )


def _add_code_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that allow code of a model file to run."""
    parser.add_argument(
        "--trust", action="store_true", help="allow Lambda layers and custom classes in the file"
    )
    parser.add_argument(
        "--custom-objects",
        action="append",
        default=[],
        metavar="MODULE",
        help="defines custom classes and functions of the file; may be repeated",
    )


def _inspect(options: argparse.Namespace) -> int:
    from encoder.cli.inspection import describe, print_description
    from encoder.model_files.load import load_model

    notes: list[str] = []
    model, _ = load_model(
        options.model,
        trust=options.trust,
        builder=options.builder,
        custom_objects=options.custom_objects,
        hide=True,
        say=notes.append,
    )
    description = describe(model, options.input_size, options.input)
    if options.plot:
        from encoder.cli.plot import plot

        plot(description, options.plot)
    if options.json:
        say_data([json_text(description, indent=2)])
    else:
        print_description(description)
        for note in dict.fromkeys(notes):
            say(note)
    return 0


def _extract(options: argparse.Namespace) -> int:
    from encoder.extraction import extract

    decisions: list[str] = []
    spec = extract(
        options.model,
        options.output,
        layer=options.layer,
        pooling=options.pooling,
        normalize=options.normalize,
        gem_p=options.gem_p,
        preprocess=options.preprocess,
        resize=options.resize,
        fit=options.fit,
        decode=options.decode,
        background=options.background,
        precision=options.precision,
        input_size=options.input_size,
        input_name=options.input,
        trust=options.trust,
        custom_objects=options.custom_objects,
        builder=options.builder,
        force=options.force,
        say=decisions.append,
    ).spec
    _print_bundle(spec, options.output)
    for decision in dict.fromkeys(decisions):
        say(f"  {decision}")
    return 0


def _compile(options: argparse.Namespace) -> int:
    from encoder.extraction import add_compiled_form

    add_compiled_form(
        options.model, trust=options.trust, custom_objects=options.custom_objects, say=say
    )
    return 0


def _imagenet(options: argparse.Namespace) -> int:
    from encoder.extraction import extract
    from encoder.network.reference import vgg16_imagenet

    model = vgg16_imagenet(options.weights)
    decisions: list[str] = []
    spec = extract(
        model,
        options.output,
        layer="block5_pool",
        preprocess="caffe",
        force=options.force,
        say=decisions.append,
    ).spec
    _print_bundle(spec, options.output)
    for decision in decisions:
        say(f"  {decision}")
    return 0


def _print_bundle(spec: EncoderSpec, output: str) -> None:
    from encoder.compute.engines.keras.registry import backend
    from encoder.compute.machine import precision_gain

    gain = precision_gain(backend().devices()[0].is_gpu)
    say(f"encoder {spec.id} -> {output}")
    say(f"  layers      {', '.join(spec.layers)}")
    say(f"  embedding   {spec.dim} values, pooling {spec.pooling}, float32")
    say(
        f"  input       {spec.height}x{spec.width}x{spec.channels}, resize {spec.resize}, "
        f"fit {spec.fit}, decode {spec.decode}, preprocess {spec.preprocess}"
    )
    say(f"  precision   {spec.precision}; {gain}")
    say(f"  proof       differs from the original network by {spec.max_difference:.1g} at most")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 224x224")
    return int(height), int(width)


def _color(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdigit() and int(part) < 256 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not R,G,B with values 0 to 255")
    red, green, blue = map(int, parts)
    return red, green, blue


def command() -> None:
    """Run the installed command ``extract-encoder``, and exit."""
    run_command(main)
