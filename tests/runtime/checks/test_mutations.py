"""Randomly mutated graphs load or are refused, and never crash the process.

This is why no graph goes through ONNX's checker before onnxruntime.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import ConduitError
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs

MUTANTS = 2000
NUMBERS = (-1, 0, 1, 2, 3, 7, 10, 16, 2**31 - 1, 2**62)
WORDS = ("", "x", "y", "W", "MatMul", "Transpose", "If", "unknown")


def bases(folder: Path) -> list[Any]:
    """Return graphs with layers, branches, a loop, operators of Microsoft and a map."""
    ones = np.ones(3, np.float32)
    made = [
        graphs.linear(folder / "linear.onnx", np.ones((3, 2))),
        graphs.endless(folder / "endless.onnx"),
        graphs.centred(folder / "centred.onnx"),
        graphs.save(
            folder / "layers.onnx",
            [
                graphs.node("Gather", ["table", "x"], ["e"]),
                graphs.node("LayerNormalization", ["e", "g"], ["n"]),
                graphs.node("Gelu", ["n"], ["a"], domain="com.microsoft"),
                graphs.node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
                graphs.node("Softmax", ["t"], ["y"], axis=-1),
            ],
            [graphs.value("x", ["n", 4], "int64")],
            [graphs.value("y", None)],
            [graphs.constant("table", np.ones((5, 3), np.float32)), graphs.constant("g", ones)],
            domains=["com.microsoft"],
        ),
        graphs.save(
            folder / "classes.onnx",
            [
                graphs.node(
                    "LinearClassifier",
                    ["x"],
                    ["label", "scores"],
                    domain="ai.onnx.ml",
                    coefficients=[1.0] * 6,
                    intercepts=[0.0, 0.0],
                    classlabels_ints=[0, 1],
                )
            ],
            [graphs.value("x", ["n", 3])],
            [graphs.value("label", ["n"], "int64"), graphs.value("scores", ["n", 2])],
            domains=["ai.onnx.ml"],
        ),
    ]
    return [graphs.load(path) for path in made]


def fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each set field of a protobuf with its message."""
    for field, value in message.ListFields():
        if field.message_type:
            for part in value if field.is_repeated else [value]:
                yield from fields(part)
        yield message, field


def mutate(message: Any, chance: random.Random) -> bytes:
    """Return the bytes of a model with a few of its fields or bits changed."""
    if chance.random() < 0.35:
        content = bytearray(message.SerializeToString())
        for _ in range(chance.choice((1, 2, 4))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return bytes(content)
    model = onnx.ModelProto()
    model.CopyFrom(message)
    for _ in range(chance.choice((1, 1, 2))):
        owner, field = chance.choice(list(fields(model)))
        value = getattr(owner, field.name)
        if field.is_repeated:
            place = chance.randrange(len(value))
            if chance.random() < 0.5:
                del value[place]
            elif field.message_type:
                value.add().CopyFrom(value[place])
            elif not isinstance(value[place], bytes):
                value[place] = (
                    chance.choice(WORDS)
                    if isinstance(value[place], str)
                    else chance.choice(NUMBERS[:7])
                )
        elif field.message_type or chance.random() < 0.3:
            owner.ClearField(field.name)
        elif isinstance(value, str):
            setattr(owner, field.name, chance.choice(WORDS))
        elif isinstance(value, bytes):
            setattr(owner, field.name, value[:-1])
        elif field.enum_type is None and isinstance(value, int):
            setattr(
                owner,
                field.name,
                chance.choice(NUMBERS[:9] if "int32" in str(field.cpp_type) else NUMBERS[:8]),
            )
    return bytes(model.SerializeToString())


def load_all(folder: Path, number: int) -> None:
    """Load each mutant; if one crashes the process, its file stays."""
    chance = random.Random(number)
    known = bases(folder)
    loaded = 0
    for _ in range(MUTANTS):
        path = folder / "mutant.onnx"
        path.write_bytes(mutate(chance.choice(known), chance))
        try:
            Session(path, Options(threads=1))
            loaded += 1
        except ConduitError:
            pass
    os.write(1, f"{loaded}".encode())


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_mutant_crashes_the_process(tmp_path: Path, number: int) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from tests.runtime.checks.test_mutations import load_all; "
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}load_all(Path(sys.argv[1]), int(sys.argv[2]))",
            str(tmp_path),
            str(number),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]),
        },
    )
    assert done.returncode == 0, (
        f"{tmp_path / 'mutant.onnx'}: {done.returncode} {done.stderr[-2000:]}"
    )
    assert MUTANTS / 10 < int(done.stdout) < MUTANTS  # some load, some are rejected
