"""Endpoints whose calls change something: the proof calls them, and the session stays as it was."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a cache that calls fill",
        """
        from functools import lru_cache
        @lru_cache(maxsize=4)
        def square(x):
            return x * x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [square(x), square.cache_info().currsize > 0]
        ask(7)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": 5}'),
        in_kernel=True,
    ),
    Notebook(
        "an object that counts down",
        """
        class Budget:
            def __init__(self, left):
                self.left = left
            def take(self, n):
                self.left -= n
                return self.left
        budget = Budget(100)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return budget.take(n)
        ask(7)
        """,
        asks=('POST /ask {"n": 5}', 'POST /ask {"n": 1}'),
        in_kernel=True,
    ),
    Notebook(
        "two endpoints that share a counter",
        """
        from collections import Counter
        seen = Counter()
        # %%
        @lab.post("/mark")
        def mark(word: str):
            seen[word] += 1
            return sum(seen.values())
        # %%
        @lab.get("/ask")
        def ask(word: str):
            seen["asks"] += 1
            return dict(seen)
        mark("a")
        ask("a")
        mark("b")
        ask("b")
        """,
        asks=('POST /mark {"word": "a"}', "GET /ask?word=a", 'POST /mark {"word": "c"}'),
        in_kernel=True,
    ),
    Notebook(
        "a deck that is drawn from",
        """
        import random
        deck = list(range(52))
        random.Random(3).shuffle(deck)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [deck.pop() for _ in range(n)]
        ask(2)
        """,
        asks=('POST /ask {"n": 3}', 'POST /ask {"n": 1}'),
        in_kernel=True,
    ),
    Notebook(
        "a generator in an object, and one of the older kind",
        """
        import numpy as np
        import random
        class Dice:
            def __init__(self, seed):
                self.rng = random.Random(seed)
        dice = Dice(4)
        old = np.random.RandomState(5)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [dice.rng.randint(1, 6) for _ in range(n)] + old.randint(9, size=n).tolist()
        ask(2)
        """,
        asks=('POST /ask {"n": 3}', 'POST /ask {"n": 1}'),
        in_kernel=True,
    ),
    Notebook(
        "a table that reading fills, and the last requests",
        """
        from collections import defaultdict, deque
        groups = defaultdict(list)
        last = deque(maxlen=2)
        # %%
        @lab.post("/ask")
        def ask(key: str):
            last.append(key)
            return [len(groups[key]), sorted(groups), list(last)]
        ask("a")
        """,
        asks=('POST /ask {"key": "b"}', 'POST /ask {"key": "a"}'),
        in_kernel=True,
    ),
    Notebook(
        "a count in an attribute of the function and of a class",
        """
        class Shop:
            orders = 0
        def order():
            Shop.orders += 1
            order.total = getattr(order, "total", 0) + 2
            return [Shop.orders, order.total]
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return order()
        ask(1)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": 5}'),
        refused=r"/ask → ask → (order|Shop)",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a stream that counts its chunks",
        """
        sent = []
        # %%
        @lab.ml_stream("/ask")
        def ask(n: int):
            for i in range(n):
                sent.append(i)
                yield {"chunk": str(len(sent)), "complete": False}
        ask(2).wait()
        """,
        asks=('POST /ask {"n": 3}', 'POST /ask {"n": 1}'),
        in_kernel=True,
    ),
    Notebook(
        "an async endpoint that counts",
        """
        import asyncio
        calls = {"n": 0}
        # %%
        @lab.post("/ask")
        async def ask(x: int):
            await asyncio.sleep(0)
            calls["n"] += x
            return calls
        await ask(2)
        """,
        asks=('POST /ask {"x": 3}', 'POST /ask {"x": 1}'),
        in_kernel=True,
    ),
    Notebook(
        "a counter beside a model",
        """
        model = lab.load_model("models/sign.npz")
        log = []
        # %%
        @lab.post("/ask")
        def ask(x: float):
            log.append(model.predict([[x, 1]])[0].label)
            return log
        ask(2)
        """,
        asks=('POST /ask {"x": -3}', 'POST /ask {"x": 1}'),
        in_kernel=True,
    ),
    Notebook(
        "an option of a library that a call sets",
        """
        from decimal import Decimal, getcontext
        # %%
        @lab.post("/ask")
        def ask(digits: int):
            getcontext().prec = digits
            return str(Decimal(1) / 3)
        ask(3)
        """,
        asks=('POST /ask {"digits": 5}',),
        in_kernel=True,
    ),
)
