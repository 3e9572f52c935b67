"""Functions made by functions: closures, decorators, caches, generators and coroutines."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a closure of a factory, made in one statement",
        """
        def scaler(by, offset=0):
            def scale(x):
                return x * by + offset
            return scale
        triple = scaler(3, offset=1)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return triple(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*triple",
        or_equal=True,
    ),
    Notebook(
        "a closure over a value that changed",
        """
        rates = [1, 2]
        def lookup(table):
            def find(n):
                return table[n]
            return find
        find = lookup(list(rates))
        # %%
        rates[1] = 20
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return find(n)
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
        refused=r"/ask.*find",
    ),
    Notebook(
        "a counter in a closure",
        """
        def counter():
            count = 0
            def step():
                nonlocal count
                count += 1
                return count
            return step
        step = counter()
        # %%
        step(), step()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return step() if x else 0
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*step",
    ),
    Notebook(
        "decorators with arguments, wraps and caches",
        """
        import functools
        def repeat(times):
            def decorate(function):
                @functools.wraps(function)
                def inner(*args, **kwargs):
                    return [function(*args, **kwargs) for _ in range(times)]
                return inner
            return decorate
        @repeat(times=2)
        @functools.lru_cache(maxsize=8)
        def scaled(x, by=3):
            return x * by
        @functools.cache
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [scaled(x), fib(x), scaled.__name__]
        ask(1)
        """,
        asks=('POST /ask {"x": 20}',),
    ),
    Notebook(
        "a decorator that keeps no name, and one applied to a lambda",
        """
        def plus(function):
            def inner(x):
                return function(x) + 1
            return inner
        @plus
        def add(x):
            return x + 1
        twice = plus(plus(lambda x: x * 2))
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [add(x), twice(x)]
        ask(1)
        """,
        asks=('POST /ask {"x": 20}',),
    ),
    Notebook(
        "a decorator that collects the functions which it replaces",
        """
        import functools
        HOOKS = []
        def hook(function):
            HOOKS.append(function)
            @functools.wraps(function)
            def inner(x):
                return function(x) + 1
            return inner
        @hook
        def add(x):
            return x + 1
        @hook
        def double(x):
            return x * 2
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [add(x), double(x), [each(x) for each in HOOKS]]
        ask(1)
        """,
        asks=('POST /ask {"x": 20}',),
    ),
    Notebook(
        "a function that two calls replaced by its wrapper",
        """
        import functools
        def plus(n):
            def decorate(function):
                @functools.wraps(function)
                def inner(x):
                    return function(x) + n
                return inner
            return decorate
        def base(x):
            return x
        base = plus(1)(base)
        base = plus(10)(base)
        base.unit = "kg"
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [base(x), base.unit]
        ask(1)
        """,
        asks=('POST /ask {"x": 20}',),
    ),
    Notebook(
        "a decorator whose argument changed since",
        """
        def limited(limit):
            def decorate(function):
                def inner(x):
                    return min(function(x), limit)
                return inner
            return decorate
        LIMIT = 10
        @limited(LIMIT)
        def add(x):
            return x + 1
        # %%
        LIMIT = 3
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return add(x)
        ask(1)
        """,
        asks=('POST /ask {"x": 20}',),
        refused=r"/ask.*add, variable limit",
    ),
    Notebook(
        "a decorator that is a class",
        """
        import functools
        class counted:
            def __init__(self, function):
                functools.update_wrapper(self, function)
                self.function = function
            def __call__(self, *args):
                return [self.function.__name__, self.function(*args)]
        @counted
        def add(a, b):
            return a + b
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return add(x, 1)
        ask(1)
        """,
        asks=('POST /ask {"x": 20}',),
    ),
    Notebook(
        "nested functions, comprehensions and a recursive lambda",
        """
        BASE = 2
        fact = lambda n: 1 if n <= 1 else n * fact(n - 1)
        def outer(x):
            def inner(y):
                return [z * BASE for z in range(y) if any(z == w for w in (1, 2))]
            return {k: v for k, v in zip("ab", (inner(x), fact(x)))}
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return outer(x)
        ask(1)
        """,
        asks=('POST /ask {"x": 4}',),
    ),
    Notebook(
        "a table of lambdas",
        """
        ops = {"inc": lambda x: x + STEP, "sq": lambda x: x * x, "neg": (lambda x: -x)}
        STEP = 5
        # %%
        @lab.post("/ask")
        def ask(op: str, x: int):
            return ops[op](x)
        ask("sq", 2)
        """,
        asks=('POST /ask {"op": "inc", "x": 4}', 'POST /ask {"op": "neg", "x": 4}'),
    ),
    Notebook(
        "lambdas that all see the last of a loop",
        """
        adders = [lambda x: x + n for n in range(3)]
        # %%
        @lab.post("/ask")
        def ask(i: int, x: int):
            return adders[i](x)
        ask(0, 0)
        """,
        asks=('POST /ask {"i": 0, "x": 10}', 'POST /ask {"i": 2, "x": 10}'),
        refused=r"/ask.*adders",
        or_equal=True,
    ),
    Notebook(
        "an async endpoint with async helpers",
        """
        import asyncio
        from contextlib import asynccontextmanager
        @asynccontextmanager
        async def doubled(x):
            await asyncio.sleep(0)
            yield 2 * x
        async def numbers(n):
            for i in range(n):
                yield i
        # %%
        @lab.post("/ask")
        async def ask(x: int):
            async with doubled(x) as y:
                return [y, [i async for i in numbers(x)]]
        # %%
        await ask(1)
        """,
        asks=('POST /ask {"x": 3}',),
    ),
    Notebook(
        "a stream and a generator behind it",
        """
        def words(text, size):
            for word in text.split():
                yield word[:size]
        SIZE = 3
        # %%
        @lab.ml_stream("/words")
        def stream_words(text: str):
            for n, word in enumerate(words(text, SIZE)):
                yield {"n": n, "word": word}
        # %%
        stream_words("hello").result()
        """,
        asks=('POST /words {"text": "several longer words"}', "GET /words?text=one%20fourteen"),
    ),
    Notebook(
        "context managers, match and exceptions of its own",
        """
        from contextlib import contextmanager
        class TooMany(ValueError):
            def __init__(self, n):
                super().__init__(f"{n} is too many")
                self.n = n
        @contextmanager
        def limited(n):
            if n > 3:
                raise TooMany(n)
            yield n
        def kind(value):
            match value:
                case {"n": int(n)} if n > 1:
                    return "many"
                case {"n": _}:
                    return "one"
                case _:
                    return "none"
        # %%
        @lab.post("/ask")
        def ask(n: int):
            try:
                with limited(n) as m:
                    return [m, kind({"n": n})]
            except TooMany as error:
                return [str(error), error.n]
        ask(1)
        """,
        asks=('POST /ask {"n": 2}', 'POST /ask {"n": 9}'),
    ),
    Notebook(
        "an error that an endpoint raises on new input",
        """
        LABELS = ["a", "b"]
        # %%
        @lab.post("/ask")
        def ask(n: int):
            if n < 0:
                raise ValueError(f"n expects at least 0, got {n}")
            return LABELS[n]
        ask(1)
        """,
        asks=('POST /ask {"n": -1}', 'POST /ask {"n": 9}', 'POST /ask {"m": 9}'),
    ),
    Notebook(
        "a function compiled by exec",
        """
        source = "def made(x):\\n    return x + 41\\n"
        exec(source)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return made(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 1}',),
        refused=r"made[\s\S]*/ask|/ask[\s\S]*made",
    ),
)
