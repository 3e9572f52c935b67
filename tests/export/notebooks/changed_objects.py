"""Objects that were filled or changed after the statement that made them."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a counter filled in a loop",
        """
        from collections import Counter
        seen = Counter()
        # %%
        for letter in "abracadabra":
            seen[letter] += 1
        # %%
        @lab.post("/ask")
        def ask(letter: str):
            return {"count": seen[letter], "most": seen.most_common(1)}
        # %%
        ask("a")
        """,
        asks=('POST /ask {"letter": "b"}', 'POST /ask {"letter": "z"}'),
    ),
    Notebook(
        "an object changed by a function",
        """
        from types import SimpleNamespace
        cfg = SimpleNamespace(top=2)
        # %%
        def apply(config, **options):
            vars(config).update(options)
        # %%
        apply(cfg, top=5)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, cfg.top)
        ask(1)
        """,
        asks=('POST /ask {"x": 9}', 'POST /ask {"x": 4}'),
        refused=r"/ask.*cfg",
        or_equal=True,
    ),
    Notebook(
        "an attribute set by setattr",
        """
        class Shop:
            def __init__(self, rate):
                self.rate = rate
        shop = Shop(2)
        # %%
        setattr(shop, "rate", 7)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x * shop.rate
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
        refused=r"/ask.*shop",
        or_equal=True,
    ),
    Notebook(
        "an object changed by its own method",
        """
        class Account:
            def __init__(self):
                self.entries = []
            def deposit(self, amount):
                self.entries.append(amount)
                return self
        account = Account()
        # %%
        account.deposit(5).deposit(6)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return {"total": sum(account.entries[:x])}
        ask(0)
        """,
        asks=('POST /ask {"x": 1}', 'POST /ask {"x": 2}'),
        refused=r"/ask.*account",
        or_equal=True,
    ),
    Notebook(
        "a dict updated, merged and cut",
        """
        rates = {"eur": 1.0, "usd": 1.1, "old": 9.9}
        # %%
        rates.update(gbp=0.85)
        rates |= {"chf": 0.95}
        del rates["old"]
        # %%
        @lab.post("/ask")
        def ask(code: str):
            return rates.get(code)
        ask("eur")
        """,
        asks=(
            'POST /ask {"code": "gbp"}',
            'POST /ask {"code": "chf"}',
            'POST /ask {"code": "old"}',
        ),
    ),
    Notebook(
        "lists appended to, sorted and sliced",
        """
        names = ["eve", "ada"]
        words = list("zyx")
        # %%
        names.append("bob")
        names.sort()
        words[0:2] = ["w"]
        words.reverse()
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [names[n], words[n:]]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}', 'POST /ask {"n": 2}', 'POST /ask {"n": -1}'),
    ),
    Notebook(
        "a nested dict changed at depth",
        """
        config = {"model": {"top": 3, "labels": ["a"]}, "debug": False}
        # %%
        config["model"]["top"] = 5
        config["model"]["labels"] += ["b", "c"]
        config.setdefault("more", []).append((1, 2))
        # %%
        @lab.post("/ask")
        def ask(key: str):
            return config[key]
        ask("debug")
        """,
        asks=('POST /ask {"key": "model"}', 'POST /ask {"key": "more"}'),
    ),
    Notebook(
        "a set grown by an operator",
        """
        stop = {"the", "a"}
        # %%
        stop |= {"an", "of"}
        stop -= {"a"}
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return [word for word in text.split() if word not in stop]
        ask("the cat")
        """,
        asks=('POST /ask {"text": "a tale of the an city"}',),
    ),
    Notebook(
        "a defaultdict, a deque and an ordered dict",
        """
        from collections import OrderedDict, defaultdict, deque
        groups = defaultdict(list)
        last = deque(maxlen=2)
        order = OrderedDict(a=1, b=2)
        # %%
        for word in ["ant", "bee", "ape"]:
            groups[word[0]].append(word)
            last.append(word)
        order.move_to_end("a")
        # %%
        @lab.post("/ask")
        def ask(letter: str):
            queue = last.copy()
            queue.append("new")
            known = {**groups}
            return [known.get(letter), list(queue), list(order), groups.default_factory is list]
        ask("z")
        """,
        asks=('POST /ask {"letter": "a"}', 'POST /ask {"letter": "b"}'),
    ),
    Notebook(
        "arrays in a dict, changed in place",
        """
        import numpy as np
        weights = {"w": np.zeros(3), "b": np.ones(1)}
        # %%
        weights["w"][1] = 4
        weights["b"] += 1
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return (np.array(x) @ weights["w"] + weights["b"]).tolist()
        ask([0, 0, 0])
        """,
        asks=('POST /ask {"x": [1, 2, 3]}',),
        refused=r"/ask.*weights",
        or_equal=True,
    ),
    Notebook(
        "objects collected in a loop",
        """
        from dataclasses import dataclass
        @dataclass
        class Item:
            name: str
            price: float
        items = []
        # %%
        for n, name in enumerate(["cup", "pot"]):
            items.append(Item(name, n + 0.5))
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return [item.price for item in items if item.name == name]
        ask("none")
        """,
        asks=('POST /ask {"name": "pot"}', 'POST /ask {"name": "cup"}'),
        refused=r"/ask.*items",
        or_equal=True,
    ),
    Notebook(
        "attributes of a function",
        """
        def tally(word):
            tally.total += 1
            return f"{tally.prefix}{word}"
        tally.total = 0
        tally.prefix = "> "
        # %%
        @lab.post("/ask")
        def ask(word: str):
            return tally(word)
        ask("a")
        """,
        asks=('POST /ask {"word": "b"}',),
        refused=r"/ask.*tally",
        or_equal=True,
    ),
    Notebook(
        "a pattern of a word that changed",
        """
        import re
        WORD = "cat"
        pattern = re.compile(WORD)
        # %%
        WORD = "dog"
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return {"found": bool(pattern.search(text)), "word": WORD}
        ask("bird")
        """,
        asks=('POST /ask {"text": "a cat"}', 'POST /ask {"text": "a dog"}'),
        refused=r"/ask.*pattern",
        or_equal=True,
    ),
    Notebook(
        "a value derived from one that changed",
        """
        base = [1, 2, 3]
        doubled = [2 * x for x in base]
        total = sum(base)
        # %%
        base.append(100)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [doubled[n], total, len(base)]
        ask(0)
        """,
        asks=('POST /ask {"n": 2}', 'POST /ask {"n": -1}'),
    ),
    Notebook(
        "one, True and 1.0 in a list",
        """
        flags = [1, 0, 1.0]
        # %%
        flags[0] = True
        flags[1] = -0.0
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return flags[n]
        ask(2)
        """,
        asks=('POST /ask {"n": 0}', 'POST /ask {"n": 1}'),
    ),
)
