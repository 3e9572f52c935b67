"""Export the demo writer's folder from a trained file; verify that it generates the same texts as torch."""

# The checks run without torch.
# mypy: ignore-errors
import json
import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from tokenizers import Tokenizer
from writer_facts import trial
from writer_graph import model_of
from writer_handbook import Handbook
from writer_network import Network, Shape, seen_by
from writer_training import END, the_tokenizer

PROMPT = "{context}\n\nQuestion: {query}\nAnswer:"
CONTEXT_TOKENS = 1024
# compared prompts about invented facts, in addition to handbook and prose prompts
FACTS = 80
PROSE = (
    "Our return policy",
    "The warranty",
    "Dear customer,",
    "If your kettle",
    "Delivery",
    "A repair",
    "We",
)
LONGEST = 64  # tokens of a compared text


def export(file: Path, folder: Path) -> None:
    """Write the folder. Raises `SystemExit` if a greedy output differs from torch's."""
    saved = torch.load(file, weights_only=True)
    tokenizer = the_tokenizer()
    shape = Shape(vocabulary=tokenizer.get_vocab_size())
    network = Network(shape).eval()
    network.load_state_dict(
        {name: weight.half().float() for name, weight in saved["network"].items()}
    )
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    config = {
        "architectures": ["WriterForCausalLM"],
        "model_type": "writer",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head,
        "max_position_embeddings": CONTEXT_TOKENS,
        "eos_token_id": tokenizer.token_to_id(END),
        "parameters": sum(weight.size for weight in weights.values()),
        "tokens_trained_on": saved["tokens"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model_of(weights, shape), folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"eos_token_id": config["eos_token_id"], "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    (folder / "rag_prompt.txt").write_text(PROMPT)
    _compare(folder, network, tokenizer)


def _compare(folder: Path, network: Network, tokenizer: Tokenizer) -> None:
    rng = random.Random(5)
    asked = [
        (one.passages, one.question) for one in (trial(rng, number % 4) for number in range(FACTS))
    ]
    asked += [(passages, question) for passages, question, _ in Handbook().trials(rng)]
    prompts = [
        PROMPT.format(context="\n\n".join(passages), query=question) for passages, question in asked
    ]
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    starts = [tokenizer.encode(prompt).ids for prompt in (*prompts, *PROSE)]
    same = sum(_by_torch(network, ids) == _by_graph(session, ids) for ids in starts)
    print(f"{same} of {len(starts)} greedy texts are torch's")
    if same < len(starts):
        raise SystemExit("the exported graph does not write what torch writes")


def _by_torch(network: Network, start: list[int]) -> list[int]:
    ids = list(start)
    with torch.no_grad():
        while len(ids) < len(start) + LONGEST and (len(ids) == len(start) or ids[-1]):
            row, position = torch.tensor([ids]), torch.arange(len(ids))[None]
            around = seen_by(position, torch.zeros_like(row), torch.zeros_like(row), torch.float32)
            ids.append(int(network.logits(network(row, *around)[0, -1]).argmax()))
    return ids[len(start) :]


def _by_graph(session: onnxruntime.InferenceSession, start: list[int]) -> list[int]:
    names = [one.name for one in session.get_outputs()]
    caches = [one for one in session.get_inputs() if one.name.startswith("past")]
    past = {one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32) for one in caches}
    new, written, length = list(start), [], 0
    while len(written) < LONGEST and (not written or written[-1]):
        length += len(new)
        feeds = {
            "input_ids": np.array([new]),
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(length - len(new), length)[None],
        }
        got = dict(zip(names, session.run(None, feeds | past), strict=True))
        past = {name: got[name.replace("past_key_values", "present")] for name in past}
        new = [int(got["logits"][0, -1].argmax())]
        written += new
    return written
