"""Rules: the rule of each operator; an operator without one is unclear."""

from __future__ import annotations

from conduit_lab.runtime.rows import axes, products, selection
from conduit_lab.runtime.rows.axes import along_axis, onward
from conduit_lab.runtime.rows.flow import Rule
from conduit_lab.runtime.rows.products import matmul

# one scale is computed from all rows, so a sample's answer depends on the others
SCALED_TOGETHER = frozenset(
    ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
)
RANDOM = frozenset(
    (
        *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"),
        *("Bernoulli", "Multinomial"),
    )
)
# all outputs have the batch axis of the first
ALIKE = frozenset(
    (
        *("Split", "TopK", "Dropout"),
        *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
        *("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"),
    )
)
RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
# the inputs that are shapes, which may depend on the number of rows
SHAPES = {
    "Reshape": {1},
    "Expand": {1},
    "Tile": {1},
    "Slice": {1, 2},
    "ConstantOfShape": {0},
    "Resize": {2, 3},
}

_UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Elu "
    "Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not "
    "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan "
    "Tanh ThresholdedRelu FastGelu QuickGelu BiasGelu RegexFullMatch LabelEncoder CategoryMapper "
    "Binarizer CastMap"
)
_BROADCAST = (
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less "
    "LessOrEqual Max Mean Min Mod Mul Or PRelu Pow StringConcat Sub Sum Where Xor"
)
_REDUCE = (
    "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReduceSumSquare"
)
_WINDOWS = (
    "AveragePool Conv ConvInteger ConvTranspose FusedConv GlobalAveragePool GlobalLpPool "
    "GlobalMaxPool LpPool LRN MaxPool QLinearConv DepthToSpace SpaceToDepth InstanceNormalization "
    "GroupNormalization QLinearAveragePool QLinearGlobalAveragePool"
)
_LEADING = (
    "EmbedLayerNormalization GridSample Scaler Normalizer Imputer LinearRegressor "
    "LinearClassifier SVMRegressor SVMClassifier TreeEnsemble TreeEnsembleClassifier "
    "TreeEnsembleRegressor OneHotEncoder FeatureVectorizer DictVectorizer TfIdfVectorizer ZipMap"
)
_LOST = "Compress NonMaxSuppression NonZero Range StringNormalizer Unique"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY.split(), axes.same),
    **dict.fromkeys(_BROADCAST.split(), axes.broadcast),
    **dict.fromkeys(_REDUCE.split(), axes.reduce),
    **dict.fromkeys(_WINDOWS.split(), products.windows),
    **dict.fromkeys(_LEADING.split(), products.leading),
    **dict.fromkeys(_LOST.split(), axes.lost),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "RotaryEmbedding"), products.attention),
    **dict.fromkeys(RECURRENT, products.recurrent),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), along_axis(-1, flat_below=13)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), axes.same),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), onward(-1)
    ),
    **dict.fromkeys(
        ("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat"), matmul(0, 1)
    ),
    **dict.fromkeys(("GatherElements", "ScatterElements"), selection.gather_elements),
    **dict.fromkeys(
        ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), products.residual
    ),
    "ArrayFeatureExtractor": products.features,
    "BatchNormalization": axes.batch_norm,
    "Concat": selection.concat,
    "ConstantOfShape": selection.constant_of_shape,
    "CumSum": axes.cumulative,
    "Dropout": axes.dropout,
    "DynamicQuantizeLinear": axes.scaled,
    "DynamicQuantizeLSTM": axes.lost,
    "DynamicQuantizeMatMul": axes.scaled,
    "Einsum": products.einsum,
    "Expand": selection.expand,
    "Flatten": axes.flatten,
    "Gather": selection.gather,
    "GatherND": selection.gather_nd,
    "Gemm": products.gemm,
    "FusedGemm": products.gemm,
    "LpNormalization": along_axis(-1),
    "MeanVarianceNormalization": axes.scaled,  # by default over the batch too
    "MatMulNBits": products.nbits,
    "OneHot": selection.one_hot,
    "Pad": selection.pad_axes,
    "QLinearMatMul": matmul(0, 3),
    "Reshape": axes.reshape,
    "Resize": products.resize,
    "SequenceConstruct": selection.construct_sequence,
    "Slice": selection.slice_axes,
    "Split": selection.split,
    "Squeeze": axes.squeeze,
    "Tile": selection.tile,
    "TopK": selection.top_k,
    "Transpose": axes.transpose,
    "Unsqueeze": axes.unsqueeze,
    "Upsample": products.resize,
}
