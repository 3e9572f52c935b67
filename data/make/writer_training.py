"""Training of the demo writer: packing documents into rows, the training loop, and quick evaluations."""

# The checks run without torch.
# mypy: ignore-errors
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from writer_facts import exercise, trial
from writer_handbook import Handbook
from writer_network import Muon, Network, Shape, seen_by
from writer_prose import prose

TOKENIZER = Path(__file__).resolve().parents[1] / "models" / "writer" / "tokenizer.json"
END = "<|end|>"  # id 0
FIRST = 5.0  # loss weight of an answer's first token, which chooses the sentence or refuses
BEGUN, HALF = 3, 0.6  # tokens of a truncated answer, and the share of such answers
VOCABULARY = 2048
LONG = 1024  # tokens per row with sections of the handbook
EVALUATION_SECONDS = 200
_PIECES = (
    r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # digits one by one
)


@dataclass(frozen=True)
class Recipe:
    """One training session: its minutes, rows, tokens per row, questions per document and rate.

    `decay` is the final share of the time, during which Muon's rate falls to 0; `prose` and
    `sections` are the shares of prose and of handbook sections among the short documents, `pages`
    is the share of batches with several sections.
    """

    minutes: float
    rows: int = 6
    tokens: int = 384
    rate: float = 0.02
    decay: float = 0.5
    prose: float = 0.07
    sections: float = 0.3
    pages: float = 0.03
    questions: int = 8


def the_tokenizer() -> Tokenizer:
    """Return the folder's tokenizer, to keep ids the same between sessions, or train one."""
    if not TOKENIZER.exists():
        TOKENIZER.parent.mkdir(parents=True, exist_ok=True)
        make_tokenizer().save(str(TOKENIZER), pretty=False)
    return Tokenizer.from_file(str(TOKENIZER))


def make_tokenizer() -> Tokenizer:
    """Train a byte-level BPE on the handbook and on invented facts."""
    rng = random.Random(0)
    texts = Handbook().pages
    for _ in range(150):
        made = exercise(rng)
        texts += made.passages + [text for pair in made.questions for text in pair]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


@dataclass(frozen=True)
class Tokens:
    """A document: token ids, blocks, positions and loss weights."""

    ids: list[int]
    block: list[int]
    position: list[int]
    weight: list[float]


class Packer:
    """Documents packed into rows of a fixed number of tokens."""

    def __init__(self, tokenizer: Tokenizer, tokens: int) -> None:
        self.tokenizer = tokenizer
        self.tokens = tokens

    def answers(
        self,
        passages: Sequence[str],
        questions: Sequence[tuple[str, str]],
        rng: random.Random,
        begun: float = 0.0,
    ) -> Tokens:
        """Return passages as block 0, then each question and answer as a separate block.

        A block attends to block 0 and itself. A share `begun` of the answers is truncated: choosing
        the sentence is harder to learn than copying it.
        """
        parts = [text for q, a in questions for text in (f"\n\nQuestion: {q}\nAnswer:", f" {a}")]
        context, *rest = (
            one.ids for one in self.tokenizer.encode_batch(["\n\n".join(passages), *parts])
        )
        ids, block, position = list(context), [0] * len(context), list(range(len(context)))
        weight = [0.25 if rng.random() < 0.3 else 0.0 for _ in context]
        for number, (asked, answer) in enumerate(zip(rest[::2], rest[1::2], strict=True), 1):
            told = answer[:BEGUN] if rng.random() < begun else [*answer, 0]
            size = len(asked) + len(told)
            if len(ids) + size > self.tokens:
                break
            ids += asked + told
            block += [number] * size
            position += range(len(context), len(context) + size)
            weight += [0.0] * len(asked) + [FIRST] + [1.0] * (len(told) - 1)
        return Tokens(ids, block, position, weight)

    def prose(self, text: str) -> Tokens:
        """Return a document that consists of text only."""
        ids = [*self.tokenizer.encode(text).ids, 0][: self.tokens]
        return Tokens(ids, [0] * len(ids), list(range(len(ids))), [0.4] * len(ids))

    def batch(self, documents: Iterator[Tokens], rows: int) -> dict[str, torch.Tensor]:
        """Return tensors [rows, tokens] of whole documents, with the next tokens as `target`."""
        shape = (rows, self.tokens)
        out = {
            name: np.zeros(shape, np.int64)
            for name in ("ids", "block", "position", "document", "target")
        }
        out["weight"] = np.zeros(shape, np.float32)
        out["document"] -= 1
        for row in range(rows):
            start = number = misses = 0
            while misses < 4:
                one = next(documents)
                size = len(one.ids)
                if start + size > self.tokens:
                    misses += 1
                    continue
                to, all_but_last = slice(start, start + size), slice(start, start + size - 1)
                for name in ("ids", "block", "position"):
                    out[name][row, to] = getattr(one, name)
                out["document"][row, to] = number
                out["target"][row, all_but_last] = one.ids[1:]
                same = np.diff(one.block) == 0  # the last token of a block predicts nothing
                out["weight"][row, all_but_last] = np.where(same, one.weight[1:], 0)
                start, number = start + size, number + 1
        return {name: torch.from_numpy(array) for name, array in out.items()}


def short_documents(packer: Packer, rng: random.Random, recipe: Recipe) -> Iterator[Tokens]:
    """Yield questions on invented facts, questions on one or two handbook sections, and prose."""
    handbook = Handbook()
    while True:
        roll = rng.random()
        if roll < recipe.prose:
            yield packer.prose(prose(rng) if rng.random() < 0.6 else handbook.prose(rng))
            continue
        if roll < recipe.prose + recipe.sections:
            made = handbook.exercise(rng, rng.choice((1, 1, 1, 2)), 2 * packer.tokens)
        else:
            made = exercise(rng, questions=recipe.questions)
        yield packer.answers(made.passages, made.questions, rng, HALF)


def long_documents(packer: Packer, rng: random.Random) -> Iterator[Tokens]:
    """Yield questions on two or three sections of the handbook."""
    handbook = Handbook()
    while True:
        made = handbook.exercise(rng, rng.choice((2, 3, 3)), 27 * packer.tokens // 10)
        yield packer.answers(made.passages, made.questions, rng, HALF)


def train(file: Path, recipe: Recipe) -> None:
    """Train for one session, continuing from the file if it exists."""
    torch.set_num_threads(2)
    rng = random.Random()
    tokenizer = the_tokenizer()
    packer, long_packer = Packer(tokenizer, recipe.tokens), Packer(tokenizer, LONG)
    short, long = short_documents(packer, rng, recipe), long_documents(long_packer, rng)
    network = Network(Shape(vocabulary=tokenizer.get_vocab_size()))
    optimizers = _optimizers(network, recipe.rate)
    seen = _restore(file, network, optimizers)
    begin = last = time.time()
    step, losses = 0, []
    while (done := (time.time() - begin) / (60 * recipe.minutes)) < 1:
        if rng.random() < recipe.pages:
            batch = long_packer.batch(long, recipe.rows * recipe.tokens // LONG)
        else:
            batch = packer.batch(short, recipe.rows)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                falling = (1 - done) / recipe.decay if recipe.decay else 1.0
                group["lr"] = group["base"] * min(1.0, (step + 1) / 50, falling)
        losses.append(_step(network, optimizers, batch))
        seen, step = seen + batch["ids"].numel(), step + 1
        if time.time() - last > EVALUATION_SECONDS:
            _tell(done * recipe.minutes, seen, losses, network, long_packer)
            _keep(file, network, optimizers, seen)
            losses, last = [], time.time()
    _tell(recipe.minutes, seen, losses, network, long_packer)
    _keep(file, network, optimizers, seen)


def _optimizers(network: Network, rate: float) -> list[torch.optim.Optimizer]:
    matrices = [
        weight for layer in network.layers for weight in layer.parameters() if weight.ndim == 2
    ]
    known = {id(weight) for weight in matrices}
    others = [weight for weight in network.parameters() if id(weight) not in known]
    made = [
        Muon(matrices, rate),
        torch.optim.AdamW(others, lr=rate / 4, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["base"] = group["lr"]
    return made


def _step(
    network: Network, optimizers: Sequence[torch.optim.Optimizer], batch: dict
) -> tuple[float, float]:
    """Update the weights on one batch; return the loss per answer token and per other token."""
    around = seen_by(batch["position"], batch["document"], batch["block"], torch.bfloat16)
    counted = batch["weight"] > 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.logits(network(batch["ids"], *around)[counted])
    loss = F.cross_entropy(logits.float(), batch["target"][counted], reduction="none")
    weight = batch["weight"][counted]
    (loss * weight).sum().div(weight.sum()).backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    answer = weight >= 1
    return loss[answer].mean().item(), loss[~answer].mean().item()


def _tell(minutes: float, seen: int, losses: list, network: Network, packer: Packer) -> None:
    answer, text = np.nanmean(losses, 0)
    shares = " ".join(f"{name} {share:.3f}" for name, share in evaluated(network, packer).items())
    print(
        f"{minutes:5.1f} min {seen / 1e6:6.2f} M tokens, losses {answer:.4f} {text:.3f} | {shares}",
        flush=True,
    )


def evaluated(network: Network, packer: Packer) -> dict[str, float]:
    """Return the share of exact answers to held-out questions, by passages with the attribute."""
    rng = random.Random(1)
    cases = {}
    for sharing in (1, 3, 0):
        trials = [trial(rng, sharing) for _ in range(48)]
        cases[f"sharing {sharing}"] = [(one.passages, one.question, one.answer) for one in trials]
        cases[f"{sharing} alone"] = [(one.alone(), one.question, one.answer) for one in trials]
    cases["handbook"] = Handbook().trials(rng)
    return {name: _right(network, packer, trials) for name, trials in cases.items()}


@torch.no_grad()
def _right(network: Network, packer: Packer, trials: Sequence[tuple]) -> float:
    rng = random.Random(1)
    made = [packer.answers(passages, [(q, a)], rng) for passages, q, a in trials]
    right = 0
    for one in made:
        ids, block, position = (torch.tensor([row]) for row in (one.ids, one.block, one.position))
        around = seen_by(position, torch.zeros_like(ids), block, torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            guess = network.logits(network(ids, *around)).argmax(-1)
        counted = torch.tensor([one.weight[1:]]) >= 1
        right += bool(((guess[:, :-1] == ids[:, 1:]) | ~counted).all())
    return right / len(made)


def _restore(file: Path, network: Network, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Load a file written by `_keep`, with the current rates; return the number of tokens seen."""
    if not file.exists():
        return 0
    saved = torch.load(file, weights_only=True)
    network.load_state_dict(saved["network"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        bases = [group["base"] for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["base"] = base
    return saved["tokens"]


def _keep(
    file: Path, network: Network, optimizers: Sequence[torch.optim.Optimizer], seen: int
) -> None:
    state = {
        "network": network.state_dict(),
        "optimizers": [one.state_dict() for one in optimizers],
        "tokens": seen,
    }
    torch.save(state, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)
