"""Smaller forms of an ONNX file: int8, float16, int4, and the graph as onnxruntime optimises it."""

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
from conduit_lab.runtime.checks.graph import check, first_line
from conduit_lab.runtime.checks.nodes import all_nodes
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.rewriting import derived_files

Feeds = Mapping[str, Array]

# the names that Hugging Face gives: model.onnx, model_int8.onnx
SUFFIXES = {"int8": "int8", "fp16": "fp16", "int4": "q4", "graph": "graph"}
BLOCK = 32  # weights that share one scale in int4; at 128 MiniLM falls from cosine 0.957 to 0.929

# Convolutions are not among them: the CPU has no fast kernel for scales that are found as it runs
_DYNAMIC = ("MatMul", "Attention", "LSTM", "Gather", "EmbedLayerNormalization")
# Layers with weights, and those that only hand int8 on. `Add` and `Softmax` are left as they are:
# one scale for the sums of a transformer, its attention mask among them, leaves nothing of its
# answers (cosine 0.10)
_STATIC = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather"),
    *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten"),
)

_one_at_a_time = threading.Lock()  # what `_quiet` changes belongs to the process


def place(source: Path, kind: str) -> Path:
    """Return where the `kind` of a file lies: `model_int8.onnx` beside `model.onnx`."""
    return source.with_name(f"{source.stem}_{SUFFIXES[kind]}.onnx")


def convert(source: Path, target: Path, kind: str, feeds: Sequence[Feeds] | None = None) -> None:
    """Write the `kind` of `source` to `target`, whole or not at all; inputs, outputs and metadata
    stay the same.

    - `int8`: weights of matrix products, LSTMs and embedding tables in 8 bits, one scale a channel.
      Activations are scaled as they come, or with `feeds` (input arrays by name) once and for all,
      convolutions then too.
    - `fp16`: weights and arithmetic in half precision; inputs and outputs keep their types.
    - `int4`: weights of matrix products and embedding tables in 4 bits, one scale for 32 of them.
    - `graph`: the same arithmetic, fused as onnxruntime fuses it ("extended", so for any CPU).

    Raises `OptimizeError` for a file that cannot be made so, or in which there is nothing to make
    so, and `MissingExtra` where a package is not installed.
    """
    metadata = derived_files.metadata(derived_files.load(source, weights=False))
    with (
        derived_files.draft(target) as path,
        tempfile.TemporaryDirectory(dir=path.parent) as scratch,
    ):
        try:
            with _one_at_a_time, _quiet():
                model = _made(source, Path(scratch), kind, feeds)
            derived_files.write(model, path, [source], kind, metadata)
        except (OptimizeError, MissingExtra):
            raise
        except (
            Exception
        ) as error:  # the converters raise whatever comes, and what they make may be no valid ONNX
            raise OptimizeError(
                f"{display(source)} cannot be made {kind}: {first_line(error)}"
            ) from error


def _made(source: Path, scratch: Path, kind: str, feeds: Sequence[Feeds] | None) -> Any:
    """Return the new graph; `OptimizeError` where it has no fewer bytes of weights than the old."""
    if kind == "graph":
        return _optimised(source, scratch, "extended")
    # before int8 constants are folded and normalisation is merged into the convolution before it,
    # as at run time
    before = _optimised(source, scratch, "basic") if kind == "int8" else derived_files.load(source)
    size = _weights(before)
    makers = {
        "int8": lambda: _int8(before, scratch, feeds),
        "fp16": lambda: _fp16(before if size < derived_files.MAX_INLINE else source),
        "int4": lambda: _int4(before),
    }
    model = makers[kind]()
    if _weights(model) >= size:
        convolves = (
            kind == "int8"
            and feeds is None
            and any(node.op_type == "Conv" for node in all_nodes(before))
        )
        why = (
            "its convolutions need calibration="
            if convolves
            else "it has no float32 weights of such layers"
        )
        raise OptimizeError(f"{display(source)} has nothing to make {kind}: {why}")
    return model


def _int8(model: Any, scratch: Path, feeds: Sequence[Feeds] | None) -> Any:
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
    # onnx's number: the type of a tensor that no shape inference knows, such as a fused layer's
    float32 = 1
    common: dict[str, Any] = {
        "per_channel": True,  # with one scale a tensor MiniLM falls from cosine 0.987 to 0.926
        "weight_type": QuantType.QInt8,
        "use_external_data_format": True,
        "extra_options": {"DefaultTensorType": float32, "MatMulConstBOnly": True},
    }
    if feeds is None:
        quantize_dynamic(model, target, op_types_to_quantize=list(_DYNAMIC), **common)
    else:
        # unsigned activations: 3 times as fast on x86-64 as signed ones
        static = {"activation_type": QuantType.QUInt8, "op_types_to_quantize": list(_STATIC)}
        quantize_static(model, target, Reader(), **common, **static)
    return derived_files.load(target)


def _fp16(source: Any) -> Any:
    """Return the graph of a protobuf, or of the file of one that is too large for onnx's shape inference."""
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = ONNXModel(
        convert_float_to_float16(
            str(source) if isinstance(source, Path) else source, keep_io_types=True
        )
    )
    model.topological_sort()  # casts were put behind the nodes that need them
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
        block_size=BLOCK,
        accuracy_level=4,  # products in int8, as fast as a CPU gets
        op_types_to_quantize=layers,
    )
    quantizer.process()
    return quantizer.model.model


def _with_int4_tables(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a copy and the layers to make int4: embedding tables too where there are some and opset 21 can be had."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    if any(node.op_type == "Gather" and node.input[0] in weights for node in model.graph.node):
        with suppress(
            Exception
        ):  # the converter does not know every step, nor a file of more than 2 GB
            return onnx.version_converter.convert_version(copy, 21), ("MatMul", "Gather")
    return copy, ("MatMul",)


def _optimised(source: Path, scratch: Path, level: str) -> Any:
    """Return the graph as onnxruntime's CPU provider optimises it; above "extended" come layouts of one machine."""
    ort = devices.onnxruntime()
    target = scratch / f"{level}.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}"
    )
    options.optimized_model_filepath = str(target)
    # a file of more than 2 GB could not be written otherwise
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", f"{level}.data"
    )
    without = list(check(source).unsafe) or None
    ort.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=without
    )
    model = derived_files.load(target)
    used = {node.domain for node in all_nodes(model)} | {"", "ai.onnx"}
    kept = [
        entry for entry in model.opset_import if entry.domain in used
    ]  # onnxruntime lists all that it knows
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
    """Keep the converters' advice to themselves, and what importing them changes: the root logger and the path."""
    root, own = logging.getLogger(), logging.getLogger("onnxruntime")
    handler, level, path = logging.NullHandler(), own.level, list(sys.path)

    def ours(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root.addHandler(handler)  # with a handler there, logging.basicConfig does nothing
    root.addFilter(ours)
    own.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(ours)
        own.setLevel(level)
        # their folder would lend everybody modules called `benchmark` and `float16`
        sys.path[:] = [entry for entry in sys.path if entry in path or "onnxruntime" not in entry]
