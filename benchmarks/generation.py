r"""Text generation compared with onnxruntime-genai on the same files, and with memory bandwidth.

The peers are not dependencies of the project. They use a separate environment, which also makes the
models:

    python -m venv peer
    peer/bin/pip install torch==2.13.0 'transformers==5.23.*' 'onnxruntime-genai==0.18.*' \
        onnxruntime==1.32.0 onnx_ir
    peer/bin/python data/make/decoders.py --benchmark build/decoders
    PEER_PYTHON=peer/bin/python .venv/bin/python benchmarks/generation.py build/decoders \
        [tiny-llama-fp32 …]

Our figures include detokenization and streams with one reader each. The peers only generate tokens:
`Generator` in one fixed batch, padded to the longest prompt and run to the longest generation;
`Engine` with requests as they arrive; transformers one request at a time. Ragged requests arrive
over a third of the total work time.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from measure import CORES as THREADS
from measure import Peer, Row, compared, print_table, started_peer

from conduit_lab.core.views.figures import rate
from conduit_lab.models.generation.generator import Generator

STREAMS = (1, 8, 16)
ROUNDS = 5
PROMPT_TOKENS, TOKENS = 32, 64  # per equal-length request
TINY_FACTOR = 12  # times as many tokens for a tiny model, whose steps are short
MODELS = ("llama-125m-fp32", "llama-125m-int4", "tiny-llama-fp32")

NAMES = {
    "generator": "onnxruntime-genai `Generator`",
    "engine": "onnxruntime-genai `Engine`",
    "transformers": "transformers on torch, one after another",
}

Job = list[tuple[float, list[int], int]]  # (arrival in seconds, prompt, tokens) of each request

# for each line of JSON, a job, prints its seconds and number of tokens
PEER = """
import json, os, sys, time
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np, onnxruntime_genai as og
model = og.Model(sys.argv[1])
print(f"onnxruntime-genai {og.__version__ if hasattr(og, '__version__') else '0.18'}", flush=True)

def generator(job):
    begin, made, left = time.perf_counter(), 0, list(job)
    while left:
        now = time.perf_counter() - begin
        batch = [request for request in left if request[0] <= now]
        if not batch:
            time.sleep(max(0.0, left[0][0] - now))
            continue
        left = left[len(batch):]
        longest, most = max(len(p) for _, p, _ in batch), max(n for _, _, n in batch)
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=longest + most, batch_size=len(batch), do_sample=False)
        g = og.Generator(model, params)
        g.append_tokens(np.array([[0] * (longest - len(p)) + p for _, p, _ in batch], np.int32))
        for _ in range(most):
            if g.is_done():
                break
            g.generate_next_token()
        made += sum(n for _, _, n in batch)
        del g
    return time.perf_counter() - begin, made

def engine(job):
    e = og.Engine(model)
    buffer = e.create_event_buffer(256)
    begin, made, left, open_ = time.perf_counter(), 0, list(job), []
    while left or e.has_pending_requests():
        now = time.perf_counter() - begin
        while left and left[0][0] <= now:
            _, prompt, n = left.pop(0)
            request = e.create_request()
            options = og.TurnOptions(request)
            options.set_max_generated_tokens(n)
            options.set_do_sample(False)
            request.begin_turn(np.array(prompt, np.int32), options)
            open_.append(request)
            made += n
        if e.has_pending_requests():
            e.run(buffer)
        elif left:
            time.sleep(max(0.0, left[0][0] - now))
    took = time.perf_counter() - begin
    for request in open_:
        request.close()
    return took, made

def transformers(job):
    import torch, transformers
    torch.set_num_threads(int(sys.argv[3]))
    made = 0
    global torch_model
    if torch_model is None:
        torch_model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[2])
    begin = time.perf_counter()
    for _, prompt, n in job:
        ids = torch.tensor([prompt])
        how = dict(max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)
        torch_model.generate(ids, attention_mask=torch.ones_like(ids), **how)
        made += n
    return time.perf_counter() - begin, made

torch_model = None
for line in sys.stdin:
    name, job = json.loads(line)
    run = {"generator": generator, "engine": engine, "transformers": transformers}[name]
    print(json.dumps(run(job)), flush=True)
"""


def rows(folder: Path, models: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of each model: equal requests, ragged requests, then bandwidth."""
    with tempfile.TemporaryDirectory() as place:
        for name in models:
            source = _with_threads(folder / name, Path(place) / name)
            writer = Generator(source, device="cpu", queue=64)
            writer.options = replace(writer.options, threads=THREADS)
            writer.open()
            tokens = TOKENS * (TINY_FACTOR if "tiny" in name else 1)
            original = folder / name.rpartition("-")[0]
            with started_peer(PEER, source, original, THREADS) as peer:
                for streams in STREAMS:
                    yield from _compared(
                        name, writer, peer, streams, equal(streams, tokens), ("generator",), "equal"
                    )
                for streams in STREAMS[1:]:
                    step = ours(writer, equal(streams, tokens))[0] / 3 / streams
                    yield from _compared(
                        name,
                        writer,
                        peer,
                        streams,
                        ragged(streams, step),
                        ("generator", "engine"),
                        "ragged, arriving",
                    )
                if name.endswith("125m-fp32"):
                    yield from _compared(
                        name, writer, peer, 8, equal(8, tokens), ("transformers",), "equal"
                    )
            if name.endswith("125m-fp32"):
                yield bandwidth(name, writer, folder / name)
            writer.unload()


def _compared(
    name: str,
    writer: Generator,
    peer: Peer | None,
    streams: int,
    job: Job,
    peers: Sequence[str],
    kind: str,
) -> Iterator[Row]:
    ours(writer, job)
    measured: dict[str, list[tuple[float, float]]] = {each: [] for each in peers}
    alone = []
    for _ in range(ROUNDS):
        for each in peers:
            took, made = ours(writer, job)
            alone.append(made / took)
            if peer is not None:
                measured[each].append((made / took, _speed(peer, each, job)))
    what = f"{name}, {streams} {kind} request{'s' * (streams > 1)}, {THREADS} threads"
    for each, pairs in measured.items():
        if pairs:
            a, b, ratio = compared(pairs)
            yield what, rate(a, "tokens"), rate(b, "tokens"), ratio, NAMES[each]
        else:
            yield what, rate(statistics.median(alone), "tokens"), "–", "–", "–"


def _speed(peer: Peer, which: str, job: Job) -> float:
    """Return the tokens per second of a job."""
    took, made = peer.ask([which, job])
    return float(made / took)


def equal(streams: int, tokens: int = TOKENS) -> Job:
    """Return requests of one length that arrive together."""
    random = np.random.default_rng(streams)
    return [(0.0, random.integers(3, 4000, PROMPT_TOKENS).tolist(), tokens) for _ in range(streams)]


def ragged(streams: int, step: float) -> Job:
    """Return requests of 8 to 96 tokens that generate 16 to 128, one every `step` seconds."""
    random = np.random.default_rng(100 + streams)
    return [
        (
            i * step,
            random.integers(3, 4000, random.integers(8, 97)).tolist(),
            int(random.integers(16, 129)),
        )
        for i in range(streams)
    ]


def ours(writer: Generator, job: Job) -> tuple[float, int]:
    """Return the seconds until the last stream ends, and the number of tokens."""
    writer._parts().scheduler.prefix_cache.clear()  # the prompts repeat in each round
    made: list[int] = []

    def read(prompt: list[int], tokens: int) -> None:
        made.append(sum(1 for _ in writer.stream(prompt, max_tokens=tokens)))

    begin, readers = perf_counter(), []
    for arrival, prompt, tokens in job:
        if (left := arrival - (perf_counter() - begin)) > 0:
            sleep(left)
        readers.append(threading.Thread(target=read, args=(prompt, tokens)))
        readers[-1].start()
    for reader in readers:
        reader.join()
    return perf_counter() - begin, sum(made)


def bandwidth(name: str, writer: Generator, folder: Path) -> Row:
    """Return the weight bytes read per second of decoding, compared with memory bandwidth."""
    config = json.loads((folder / "genai_config.json").read_text())["model"]
    table = (
        config["vocab_size"] * config["decoder"]["hidden_size"] * 4
    )  # of which each token reads one row
    weights = writer.shared.size - table
    pairs = []
    for _ in range(ROUNDS):
        took = writer.generate([5] * 8, max_tokens=TOKENS).usage
        pairs.append((weights * took.tokens_per_second / 1e9, _read_bandwidth() / 1e9))
    a, b, ratio = compared(pairs)
    return (
        f"{name}, 1 stream, weights read",
        f"{a:.1f} GB/s",
        f"{b:.1f} GB/s",
        ratio,
        "reading memory, same threads",
    )


def _read_bandwidth() -> float:
    """Return the bytes per second at which all threads read an array larger than any cache."""
    parts = np.array_split(np.ones(64 * 2**20, np.float32), THREADS)
    best = 0.0
    for _ in range(3):
        threads = [threading.Thread(target=np.max, args=(part,)) for part in parts]
        begin = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, sum(part.nbytes for part in parts) / (perf_counter() - begin))
    return best


def _with_threads(source: Path, target: Path) -> Path:
    """Copy a model folder, with a thread count and an end token that random weights never reach."""
    shutil.copytree(source, target)
    file = target / "genai_config.json"
    config = json.loads(file.read_text())
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = THREADS
    config["model"]["eos_token_id"] = config["model"]["vocab_size"] - 1
    file.unlink()
    file.write_text(json.dumps(config))
    return target


if __name__ == "__main__":
    print_table(rows(Path(sys.argv[1]), sys.argv[2:] or MODELS))
