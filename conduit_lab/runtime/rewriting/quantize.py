"""Quantize: int8, float16 and int4 forms of an ONNX file, and its optimized graph."""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import MissingExtra, OptimizeError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.checks.nodes import all_nodes
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.rewriting import derived_files
from conduit_lab.runtime.rewriting.saturation import int8_saturates

InputArrays = Mapping[str, Array]

# as Hugging Face names them: model.onnx, model_int8.onnx
SUFFIXES = {"int8": "int8", "fp16": "fp16", "int4": "q4", "graph": "graph"}
_INT4_BLOCK_WEIGHTS = 32  # per scale; with 128 MiniLM drops from cosine 0.957 to 0.929

# without convolutions: the CPU has no fast kernel for scales computed at run time
_DYNAMIC = ("MatMul", "Attention", "LSTM", "Gather", "EmbedLayerNormalization")
# Layers with weights, and layers that pass int8 on. Without `Add` and `Softmax`: one scale for the
# sums of a transformer, attention mask included, destroys its answers (cosine 0.10)
_STATIC = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather"),
    *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten"),
)

_lock = threading.Lock()  # guards the process-wide state that `_quiet` changes


def converted_path(source: Path, kind: str) -> Path:
    """Return the path of a file's `kind`: `model_int8.onnx` beside `model.onnx`."""
    return source.with_name(f"{source.stem}_{SUFFIXES[kind]}.onnx")


def convert(
    source: Path, target: Path, kind: str, feeds: Sequence[InputArrays] | None = None
) -> None:
    """Write the `kind` of `source` to `target`, atomically; inputs, outputs and metadata stay.

    - `int8`: weights of matrix products, LSTMs and embedding tables in 8 bits, one scale per
      channel; in 7 bits if sums of 8-bit products saturate (`saturation.py`). Activations
      are scaled at run time, or calibrated with `feeds` (input arrays by name), which converts
      convolutions too.
    - `fp16`: weights and arithmetic in half precision; inputs and outputs keep their types.
    - `int4`: weights of matrix products and embedding tables in 4 bits, one scale per 32.
    - `graph`: the same arithmetic, fused by onnxruntime ("extended", so for any CPU).

    Raises `OptimizeError` for a file that cannot be converted or has nothing to convert, and
    `MissingExtra` if a package is not installed.
    """
    metadata = derived_files.metadata(derived_files.load_protobuf(source, weights=False))
    with (
        derived_files.draft(target) as path,
        tempfile.TemporaryDirectory(dir=path.parent) as scratch,
        derived_files.as_optimize_error(f"{display(source)} cannot be converted to {kind}"),
    ):
        with _lock, _quiet():
            model = _converted(source, Path(scratch), kind, feeds)
        derived_files.write_derived(model, path, [source], kind, metadata)


def _converted(source: Path, scratch: Path, kind: str, feeds: Sequence[InputArrays] | None) -> Any:
    """Return the new graph; raise `OptimizeError` unless its weights take fewer bytes."""
    if kind == "graph":
        return _optimized(source, scratch, "extended")
    # before int8, fold constants and merge normalization into convolutions, as at run time
    before = (
        _optimized(source, scratch, "basic")
        if kind == "int8"
        else derived_files.load_protobuf(source)
    )
    size = _weights(before)
    makers = {
        "int8": lambda: _int8(before, scratch, feeds),
        "fp16": lambda: _fp16(before if size < derived_files.MAX_INLINE_BYTES else source),
        "int4": lambda: _int4(before),
    }
    model = makers[kind]()
    if _weights(model) >= size:
        reason = "it has no float32 weights of such layers"
        dynamic = kind == "int8" and feeds is None
        if dynamic and any(node.op_type == "Conv" for node in all_nodes(before)):
            reason = "its convolutions need calibration="
        raise OptimizeError(f"{display(source)} has nothing to convert to {kind}: {reason}")
    return model


def _int8(model: Any, scratch: Path, feeds: Sequence[InputArrays] | None) -> Any:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(feeds or ())

        def get_next(self) -> Any:
            return next(self._left, None)

    target = scratch / "int8.onnx"
    float32 = 1  # TensorProto.FLOAT, for tensors without inferred type, such as a fused layer's
    common: dict[str, Any] = {
        "per_channel": True,  # with one scale per tensor MiniLM drops from cosine 0.987 to 0.926
        "weight_type": QuantType.QInt8,
        "reduce_range": int8_saturates(),
        "use_external_data_format": True,
        "extra_options": {"DefaultTensorType": float32, "MatMulConstBOnly": True},
    }
    if feeds is None:
        quantize_dynamic(model, target, op_types_to_quantize=list(_DYNAMIC), **common)
    else:
        # unsigned activations are 3 times as fast on x86-64 as signed ones
        static = {"activation_type": QuantType.QUInt8, "op_types_to_quantize": list(_STATIC)}
        quantize_static(model, target, Reader(), **common, **static)
    return derived_files.load_protobuf(target)


def _fp16(source: Any) -> Any:
    """Return a half-precision graph; `source` is a path if it is too large for shape inference."""
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    given = str(source) if isinstance(source, Path) else source
    model = ONNXModel(convert_float_to_float16(given, keep_io_types=True))
    model.topological_sort()  # the converter puts casts after the nodes that need them
    return model.model


def _int4(before: Any) -> Any:
    try:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    except ImportError as error:
        raise MissingExtra("onnx_ir", "optimize", "int4") from error
    from onnxruntime.quantization.onnx_model import ONNXModel

    start, layers = _with_int4_tables(before)
    whole = ONNXModel(start)
    whole.replace_gemm_with_matmul()
    quantizer = MatMulNBitsQuantizer(
        whole.model,
        block_size=_INT4_BLOCK_WEIGHTS,
        accuracy_level=4,  # int8 products, the fastest on a CPU
        op_types_to_quantize=layers,
    )
    quantizer.process()
    return quantizer.model.model


def _with_int4_tables(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a copy and the layers to convert: embedding tables too if opset 21 is possible."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    if any(node.op_type == "Gather" and node.input[0] in weights for node in model.graph.node):
        # the version converter does not support every operator, nor a file of more than 2 GB
        with suppress(Exception):
            return onnx.version_converter.convert_version(copy, 21), ("MatMul", "Gather")
    return copy, ("MatMul",)


def _optimized(source: Path, scratch: Path, level: str) -> Any:
    """Return the graph optimized for the CPU; above "extended" it would suit one machine only."""
    ort = devices.onnxruntime()
    target = scratch / f"{level}.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    level_name = f"ORT_ENABLE_{level.upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level_name)
    options.optimized_model_filepath = str(target)
    # needed to write a file of more than 2 GB
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", f"{level}.data"
    )
    without = list(check_graph(source).unsafe) or None
    ort.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=without
    )
    model = derived_files.load_protobuf(target)
    used = {node.domain for node in all_nodes(model)} | {"", "ai.onnx"}
    # onnxruntime lists every operator set that it supports
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _weights(model: Any) -> int:
    """Return the bytes of all constant tensors."""
    constants = (
        a.t for node in all_nodes(model) if node.op_type == "Constant" for a in node.attribute
    )
    return sum(tensor.ByteSize() for tensor in (*model.graph.initializer, *constants))


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the converters' advice; undo their changes to the root logger and `sys.path`."""
    root, own = logging.getLogger(), logging.getLogger("onnxruntime")
    handler, level, path = logging.NullHandler(), own.level, list(sys.path)

    def is_foreign(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root.addHandler(handler)  # makes logging.basicConfig a no-op
    root.addFilter(is_foreign)
    own.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(is_foreign)
        own.setLevel(level)
        # the converters' folder would expose modules named `benchmark` and `float16`
        sys.path[:] = [entry for entry in sys.path if entry in path or "onnxruntime" not in entry]
