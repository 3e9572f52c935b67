"""Graph: the nodes and weights of an ONNX graph under construction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Graph:
    """Nodes and weights of one ONNX graph, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Store an array once under its name, and return the name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, *values: int) -> str:
        """Store a small int64 vector, such as axes or a shape, and return its name."""
        return self.weight("int64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """Store a float32 scalar, and return its name."""
        return self.weight(f"float32_{value:g}", np.array(value, np.float32))

    def node(
        self,
        op_type: str,
        *inputs: str,
        output: str = "",
        more: Sequence[str] = (),
        **attributes: Any,
    ) -> str:
        """Append a node, and return the name of its first output; `more` names the others."""
        output = output or f"{op_type}_{len(self.nodes)}"
        outputs = [output, *more]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=output, **attributes))
        return output
