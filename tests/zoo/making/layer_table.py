"""How each class of layer is put into a small network. Runs under every version, so Python 3.8.

The name of an entry is that of the class, or "Class: what is special". Entries whose class a
version lacks are left out there.
"""

# What a layer takes: see places.py.
TABLE = {}


def _all(place, **entries):
    for name, options in entries.items():
        TABLE[name] = (place, options)


def _more(place, entries):
    for name, options in entries.items():
        TABLE[name] = (place, options)


_all(
    "map",
    Activation=dict(activation="relu"),
    ActivityRegularization=dict(l2=0.01),
    AdaptiveAveragePooling2D=dict(output_size=4),
    AdaptiveMaxPooling2D=dict(output_size=4),
    AlphaDropout=dict(rate=0.3),
    AveragePooling2D=dict(pool_size=2),
    BatchNormalization={},
    CenterCrop=dict(height=8, width=8),
    Conv2D=dict(filters=5, kernel_size=3),
    Conv2DTranspose=dict(filters=5, kernel_size=3, padding="same"),
    Cropping2D=dict(cropping=2),
    DepthwiseConv2D=dict(kernel_size=3),
    Discretization=dict(bin_boundaries=[-1.0, 0.0, 1.0]),
    Dropout=dict(rate=0.3),
    ELU={},
    Flatten={},
    GaussianDropout=dict(rate=0.3),
    GaussianNoise=dict(stddev=0.3),
    GlobalAveragePooling2D={},
    GlobalMaxPooling2D={},
    GroupNormalization=dict(groups=2),
    Identity={},
    LayerNormalization={},
    LeakyReLU={},
    LocallyConnected2D=dict(filters=3, kernel_size=3),
    Masking={},
    MaxPooling2D={},
    Normalization=dict(mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0, 5.0, 6.0, 7.0]),
    PReLU=dict(shared_axes=[1, 2]),
    Permute=dict(dims=(2, 1, 3)),
    RMSNormalization={},
    ReLU={},
    Rescaling=dict(scale=2.0, offset=1.0),
    Reshape=dict(target_shape=(8, 32, 4)),
    Resizing=dict(height=8, width=8),
    SeparableConv2D=dict(filters=5, kernel_size=3),
    Softmax={},
    SpatialDropout2D=dict(rate=0.3),
    SpectralNormalization=dict(layer=("Conv2D", dict(filters=5, kernel_size=3))),
    SyncBatchNormalization={},
    ThresholdedReLU=dict(theta=0.1),
    UnitNormalization={},
    UpSampling2D={},
    ZeroPadding2D={},
)
_more(
    "map",
    {
        "Conv2D: groups": dict(filters=6, kernel_size=3, groups=2),
        "Conv2D: dilation": dict(filters=5, kernel_size=3, dilation_rate=2),
        "Conv2D: constraint": dict(filters=5, kernel_size=3, kernel_constraint="max_norm"),
        "Conv2D: regularizer": dict(
            filters=5, kernel_size=3, kernel_regularizer="l2", kernel_initializer="he_normal"
        ),
        "Conv2D: no bias": dict(filters=5, kernel_size=3, use_bias=False),
        "Conv2D: activation layer": dict(filters=5, kernel_size=3, activation=("ReLU", {})),
        "Conv2D: mixed_float16": dict(filters=5, kernel_size=3, dtype="mixed_float16"),
        "Conv2D: mixed_bfloat16": dict(filters=5, kernel_size=3, dtype="mixed_bfloat16"),
        "Conv2D: float16": dict(filters=5, kernel_size=3, dtype="float16"),
        "Conv2D: float64": dict(filters=5, kernel_size=3, dtype="float64"),
        "BatchNormalization: mixed_float16": dict(dtype="mixed_float16"),
        "BatchNormalization: no scale": dict(scale=False, center=False),
        "BatchNormalization: frozen": dict(trainable=False),
        "BatchNormalization: height": dict(axis=1),
        "LayerNormalization: two axes": dict(axis=[2, 3]),
        "DepthwiseConv2D: multiplier": dict(
            kernel_size=3, depth_multiplier=2, strides=2, padding="same"
        ),
        "SeparableConv2D: regularizer": dict(
            filters=5, kernel_size=3, depthwise_regularizer="l2", pointwise_constraint="unit_norm"
        ),
        "Conv2DTranspose: strides": dict(
            filters=5, kernel_size=3, strides=2, padding="same", output_padding=1
        ),
        "MaxPooling2D: same": dict(pool_size=3, strides=2, padding="same"),
        "AveragePooling2D: same": dict(pool_size=3, strides=2, padding="same"),
        "UpSampling2D: bilinear": dict(size=2, interpolation="bilinear"),
        "GlobalAveragePooling2D: keepdims": dict(keepdims=True),
        "ReLU: six": dict(max_value=6.0, negative_slope=0.1, threshold=0.2),
        "ZeroPadding2D: uneven": dict(padding=((0, 1), (2, 3))),
        "PReLU: every place": {},
        "Resizing: nearest": dict(height=24, width=20, interpolation="nearest"),
        "Resizing: crop": dict(height=8, width=12, crop_to_aspect_ratio=True),
    },
)
for _name in (
    *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu6"),
    *("selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh", "celu"),
    *("glu", "hard_shrink", "hard_silu", "hard_swish", "hard_tanh", "log_sigmoid", "log_softmax"),
    *("soft_shrink", "sparse_plus", "squareplus", "tanh_shrink", "threshold", "sparsemax"),
):
    TABLE["Activation: " + _name] = ("map", dict(activation=_name))

_all(
    "sequence",
    AdaptiveAveragePooling1D=dict(output_size=4),
    AdaptiveMaxPooling1D=dict(output_size=4),
    AveragePooling1D=dict(pool_size=2),
    Bidirectional=dict(layer=("LSTM", dict(units=3))),
    Conv1D=dict(filters=5, kernel_size=3),
    Conv1DTranspose=dict(filters=5, kernel_size=3),
    Cropping1D=dict(cropping=2),
    DepthwiseConv1D=dict(kernel_size=3),
    EinsumDense=dict(equation="nsc,ck->nsk", output_shape=(None, 5)),
    GRU=dict(units=3),
    GlobalAveragePooling1D={},
    GlobalMaxPooling1D={},
    LSTM=dict(units=3),
    LocallyConnected1D=dict(filters=3, kernel_size=3),
    MaxPooling1D={},
    RNN=dict(cell=("LSTMCell", dict(units=3))),
    SeparableConv1D=dict(filters=5, kernel_size=3),
    SimpleRNN=dict(units=3),
    SpatialDropout1D=dict(rate=0.3),
    TimeDistributed=dict(layer=("Dense", dict(units=5))),
    UpSampling1D={},
    ZeroPadding1D={},
)
_more(
    "sequence",
    {
        "RNN: GRUCell": dict(cell=("GRUCell", dict(units=3))),
        "RNN: SimpleRNNCell": dict(cell=("SimpleRNNCell", dict(units=3))),
        "RNN: StackedRNNCells": dict(
            cell=("StackedRNNCells", dict(cells=[("LSTMCell", dict(units=3))]))
        ),
        "LSTM: sequences": dict(units=3, return_sequences=True),
        "GRU: reset before": dict(units=3, reset_after=False, go_backwards=True),
        "Dense: sequence": dict(units=5, activation="relu"),
        "Conv1D: causal": dict(filters=5, kernel_size=3, padding="causal"),
    },
)
_all(
    "twice",
    MultiHeadAttention=dict(num_heads=2, key_dim=4),
    GroupQueryAttention=dict(head_dim=4, num_query_heads=2, num_key_value_heads=1),
)
_all("listed twice", Attention={}, AdditiveAttention={})
_all(
    "volume",
    AdaptiveAveragePooling3D=dict(output_size=2),
    AdaptiveMaxPooling3D=dict(output_size=2),
    AveragePooling3D=dict(pool_size=2),
    Conv3D=dict(filters=2, kernel_size=3),
    Conv3DTranspose=dict(filters=2, kernel_size=3),
    ConvLSTM2D=dict(filters=3, kernel_size=3),
    Cropping3D={},
    GlobalAveragePooling3D={},
    GlobalMaxPooling3D={},
    MaxPooling3D={},
    SpatialDropout3D=dict(rate=0.3),
    UpSampling3D={},
    ZeroPadding3D={},
)
_more(
    "volume",
    {
        "TimeDistributed: Conv2D": dict(layer=("Conv2D", dict(filters=3, kernel_size=3))),
        "ConvLSTM2D: sequences": dict(filters=3, kernel_size=3, return_sequences=True),
    },
)
_all("rows", ConvLSTM1D=dict(filters=3, kernel_size=3))
_all("volumes", ConvLSTM3D=dict(filters=2, kernel_size=2))
_all(
    "pair",
    **{name: {} for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply")},
    Subtract={},
)
_all("two vectors", Dot=dict(axes=1))
_all(
    "vector",
    Dense=dict(units=5),
    RandomFourierFeatures=dict(output_dim=5),
    RepeatVector=dict(n=3),
)
_all(
    "signal",
    MelSpectrogram=dict(sequence_length=64, fft_length=64, num_mel_bins=8, sampling_rate=800),
    STFTSpectrogram=dict(frame_length=64, frame_step=32, fft_length=64),
)
_all("numbers", CategoryEncoding=dict(num_tokens=4), Embedding=dict(input_dim=4, output_dim=3))
_all("numbers", Hashing=dict(num_bins=4), IntegerLookup=dict(vocabulary=[0, 1, 2]))
_all("numbers", ReversibleEmbedding=dict(input_dim=4, output_dim=3))
_all("image", Lambda={})
_all(
    "image",
    AugMix=dict(value_range=(0, 255)),
    AutoContrast={},
    ContrastLimitedAdaptiveHistogramEqualization={},
    CutMix={},
    Equalization={},
    MixUp={},
    Pipeline=dict(layers=[("RandomFlip", {}), ("Rescaling", dict(scale=0.5))]),
    RandAugment={},
    RandomBrightness=dict(factor=0.2),
    RandomColorDegeneration=dict(factor=0.2),
    RandomColorJitter=dict(value_range=(0, 255), brightness_factor=0.2),
    RandomContrast=dict(factor=0.2),
    RandomCrop=dict(height=24, width=24),
    RandomElasticTransform={},
    RandomErasing={},
    RandomFlip={},
    RandomGaussianBlur=dict(value_range=(0, 255)),
    RandomGrayscale={},
    RandomHeight=dict(factor=0.2),
    RandomHue=dict(factor=0.2),
    RandomInvert={},
    RandomPerspective={},
    RandomPosterization=dict(factor=4),
    RandomRotation=dict(factor=0.1),
    RandomSaturation=dict(factor=0.2),
    RandomSharpness=dict(factor=0.2),
    RandomShear=dict(x_factor=0.2),
    RandomTranslation=dict(height_factor=0.1, width_factor=0.1),
    RandomWidth=dict(factor=0.2),
    RandomZoom=dict(height_factor=0.1),
    Solarization={},
)
_more(
    "image",
    {
        "Rescaling: image": dict(scale=1 / 127.5, offset=-1.0),
        "Rescaling: each colour": dict(scale=[0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0]),
        "Normalization: image": dict(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]),
        "Resizing: image": dict(height=24, width=24),
        "RandomFlip: horizontal": dict(mode="horizontal"),
    },
)

_TEXT = "takes text, not numbers"
_BASE = "a base for other classes"
_CELL = "a part of a recurrent layer: made inside RNN"
_PROGRAM = "runs a program of another library, which a model file may not do"
LEFT_OUT = {
    "AbstractRNNCell": _BASE,
    "CategoryCrossing": _TEXT,
    "DynamicEmbedding": _TEXT,
    "DynamicLookup": _TEXT,
    "DenseFeatures": "takes columns of tables",
    "FlaxLayer": _PROGRAM,
    "GRUCell": _CELL,
    "HashedCrossing": "takes two categories",
    "InputLayer": "is in every network here",
    "JaxLayer": _PROGRAM,
    "LSTMCell": _CELL,
    "Layer": _BASE,
    "MaxNumBoundingBoxes": "takes boxes, not images",
    "PreprocessingLayer": _BASE,
    "SimpleRNNCell": _CELL,
    "StackedRNNCells": _CELL,
    "StringLookup": _TEXT,
    "TFSMLayer": _PROGRAM,
    "TextVectorization": _TEXT,
    "TorchModuleWrapper": _PROGRAM,
    "Wrapper": _BASE,
}
