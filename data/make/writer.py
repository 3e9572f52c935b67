"""Make data/models/writer: a small generator that answers from passages, trained from scratch.

    python -m venv build/writer
    build/writer/bin/pip install torch==2.13.0 tokenizers onnx onnxruntime==1.32.0 numpy
    build/writer/bin/python data/make/writer.py train build/writer.pt --minutes 80
    build/writer/bin/python data/make/writer.py export build/writer.pt
    python data/make/writer.py check

`train` continues from the file if it exists. `export` writes the folder and compares its greedy
outputs with torch's. `check` needs no torch: it measures the held-out figures with the package's
Generator and writes the folder's README.md.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "models" / "writer"


def main(arguments: list[str]) -> None:
    """Train, export or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("check")
    steps.add_parser("export").add_argument("file", type=Path)
    training = steps.add_parser("train")
    training.add_argument("file", type=Path)
    training.add_argument("--minutes", type=float, required=True)
    training.add_argument("--rows", type=int)
    training.add_argument("--tokens", type=int)
    training.add_argument("--rate", type=float)
    training.add_argument("--decay", type=float)
    training.add_argument("--prose", type=float)
    training.add_argument("--sections", type=float)
    training.add_argument("--pages", type=float)
    training.add_argument("--questions", type=int)
    given = vars(parser.parse_args(arguments))
    step = given.pop("step")
    if step == "check":
        from writer_check import check

        check(FOLDER)
    elif step == "export":
        from writer_export import export

        export(given["file"], FOLDER)
    else:
        from writer_training import Recipe, train

        file = given.pop("file")
        train(
            file,
            dataclasses.replace(
                Recipe(given.pop("minutes")), **{k: v for k, v in given.items() if v is not None}
            ),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
