"""Find the steps that compute a network's answer: class scores, a mask, an image, boxes.

The feature maps that describe an image come before them.
"""

from __future__ import annotations

from encoder.network.graph import Step

# Layers and operations, in lower case, that change neither the values of scores nor their order of
# size: what is before them are scores, too.
_KEEPS_SCORES = frozenset(
    {
        *("reshape", "flatten", "permute", "transpose", "squeeze", "expanddims", "depth_to_space"),
        *("dropout", "spatialdropout2d", "cropping2d", "zeropadding2d"),
        *("globalaveragepooling1d", "globalaveragepooling2d", "averagepooling2d", "mean"),
        *("globalmaxpooling1d", "globalmaxpooling2d", "max"),
        *("upsampling2d", "resizing", "resize"),
    }
)
_SCORES = frozenset({"softmax", "sigmoid", "log_softmax", "logsoftmax"})
# Layers with weights that treat each channel alone.
_POINTWISE = frozenset(
    {"prelu", "normalization", "batchnormalization", "layernormalization", "groupnormalization"}
)
_SMALLER = 2  # a layer of scores that sees neighbours has at most 1 / _SMALLER of the channels


def answer_steps(steps: list[Step]) -> set[int]:
    """The indices of the steps that compute the network's answer.

    An answer is what a softmax or sigmoid makes, or what a last linear layer makes that works on
    each position alone or has far fewer channels than the layer before. Its steps are this layer
    and all that follow it. Channels are classes then, so layers that only enlarge maps of class
    scores belong to it, too. The output of a network without a head is no answer: it ends with a
    rectifier, a normalization or a pooling.

    Args:
        steps: all steps of the network, in the order in which they run.
    """
    makers = {
        id(tensor): place
        for place, step in enumerate(steps)
        if not step.is_model
        for tensor in step.outputs
    }
    taken = {id(tensor) for step in steps if not step.is_model for tensor in step.inputs}
    channels = steps[0].shape[-1]
    answers: set[int] = set()
    for place in (place for tensor, place in makers.items() if tensor not in taken):
        if _is_answer(steps, makers, place):
            answers |= _answer(steps, makers, place, channels)
    return answers


def mixes(step: Step) -> bool:
    """Whether a step computes new channels out of all channels, with trained weights."""
    weights = getattr(step.layer, "weights", None) or ()
    return kind_of(step) not in _POINTWISE and any(len(each.shape) > 1 for each in weights)


def kind_of(step: Step) -> str:
    """The class of a layer in lower case, or the name of the TensorFlow function that it calls."""
    function = getattr(step.layer, "function", None)
    if isinstance(function, str):  # TensorFlowOperation in encoder.model_files.configs.keras2
        return function.rpartition(".")[2].lower()
    return type(step.layer).__name__.lower()


def _is_answer(steps: list[Step], makers: dict[int, int], place: int) -> bool:
    step = steps[place]
    if step.is_input:
        return False
    if kind_of(step) in _SCORES or _activation(step) in _SCORES:
        return True
    before = [makers[id(tensor)] for tensor in step.inputs if id(tensor) in makers]
    if mixes(step) and not _only_enlarges(step):
        return _activation(step) == "linear" and _reduces(step)
    if kind_of(step) in ("add", "concatenate"):
        return all(_is_answer(steps, makers, each) for each in before)
    is_linear = kind_of(step) == "activation" and _activation(step) == "linear"
    if not (kind_of(step) in _KEEPS_SCORES or is_linear or _only_enlarges(step)):
        return False
    return len(before) == 1 and _is_answer(steps, makers, before[0])


def _answer(
    steps: list[Step], makers: dict[int, int], last: int, image_channels: int | None
) -> set[int]:
    """The steps from the layer that computes an answer to the last one."""
    found: set[int] = set()
    waiting = [last]
    while waiting:
        place = waiting.pop()
        step = steps[place]
        if place in found or step.is_input:
            continue
        found.add(place)
        # A decoder may have as many channels as the image everywhere: it computes no scores.
        enlarges = _only_enlarges(step) and step.shape[-1] != image_channels
        if enlarges or not mixes(step):
            waiting.extend(makers[id(each)] for each in step.inputs if id(each) in makers)
    return found


def _only_enlarges(step: Step) -> bool:
    """Whether it is a transposed convolution with as many channels as before."""
    return (
        kind_of(step) == "conv2dtranspose"
        and step.inputs[0].shape[-1] == step.shape[-1]
        and _activation(step) == "linear"
    )


def _reduces(step: Step) -> bool:
    """Whether a layer is made like one of scores: without stride, for each position or smaller."""
    strides, kernel = (getattr(step.layer, name, 1) for name in ("strides", "kernel_size"))
    if strides not in (1, (1, 1)):
        return False
    before, after = step.inputs[0].shape[-1], step.shape[-1]
    return kernel in (1, (1, 1)) or bool(before and after and after * _SMALLER <= before)


def _activation(step: Step) -> str:
    activation = getattr(step.layer, "activation", None)
    return "linear" if activation is None else str(getattr(activation, "__name__", "other"))
