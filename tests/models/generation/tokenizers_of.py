"""Small tokenizers of the kinds that text generators have, all with control tokens."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PLAIN]
LETTER_OF = {byte: chr(byte) for byte in _PLAIN} | {
    byte: chr(0x100 + at) for at, byte in enumerate(_OTHERS)
}
CONTROL = ["<|im_start|>", "<|im_end|>", "</s>"]


def add(tokenizer: Tokenizer) -> Tokenizer:
    """Add control tokens: special ones, one that is not, one that strips white space around it."""
    tokenizer.add_special_tokens(
        [AddedToken(each, special=True, normalized=False) for each in CONTROL]
    )
    tokenizer.add_tokens(
        [
            AddedToken("<think>", normalized=False),
            AddedToken("<|user|>", lstrip=True, rstrip=True, normalized=False),
        ]
    )
    return tokenizer


def byte_level() -> Tokenizer:
    """GPT-2, Qwen, Llama 3: bytes, with some merges."""
    vocabulary = {letter: byte for byte, letter in LETTER_OF.items()}
    merges = [("e", "n"), ("en", "d"), ("i", "m"), ("<", "|"), ("|", ">"), ("Ġ", "a"), ("h", "e")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    vocabulary["</s>"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return add(tokenizer)


def sentence_piece(prepended: bool = True) -> Tokenizer:
    """Llama 2, Mistral, TinyLlama: `▁` for a space, bytes for unknown characters, a BOS token."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {
        f"<0x{byte:02X}>": 3 + byte for byte in range(256)
    }
    merges: list[tuple[str, str]] = []
    for word in ("▁the", "▁quick", "▁fox", "▁a", "▁▁", "end", "im"):
        for letter in word:
            vocabulary.setdefault(letter, len(vocabulary))
        whole = word[0]
        for letter in word[1:]:
            if whole + letter not in vocabulary:
                vocabulary[whole + letter] = len(vocabulary)
                merges.append((whole, letter))
            whole += letter
    model = models.BPE(
        vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    if prepended:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return add(tokenizer)


def metaspace() -> Tokenizer:
    """Newer conversions of the same: a pre-tokenizer adds `▁` to the first word only."""
    return sentence_piece(prepended=False)


def unigram() -> Tokenizer:
    """T5, XLM-R: the most likely pieces; control tokens are more likely than their letters."""
    letters = sorted(set("▁abcdefghijklmnopqrstuvwxyz<>|/_ABQ.,!?"))
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("<|im_end|>", 0.0), ("▁the", -2.0), ("end", -3.0)]
    tokenizer = Tokenizer(
        models.Unigram(
            [*pieces, *((letter, -8.0) for letter in letters)], unk_id=0, byte_fallback=False
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    return add(tokenizer)


def word_pieces() -> Tokenizer:
    """BERT-like: lower case, whose control tokens are found in normalised text too."""
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz<>|/_"))
    vocabulary = {"[UNK]": 0, "[SEP]": 1} | {letter: 2 + at for at, letter in enumerate(letters)}
    vocabulary |= {f"##{letter}": 2 + len(letters) + at for at, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]"])
    tokenizer.add_tokens([AddedToken("<|done|>", normalized=True)])
    return add(tokenizer)


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "sentence-piece": sentence_piece,
    "metaspace": metaspace,
    "unigram": unigram,
    "word pieces": word_pieces,
}
