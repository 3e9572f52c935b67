"""Features of the language that sessions use now and then."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a defaultdict that numbers words",
        """
        from collections import defaultdict
        vocab = defaultdict(lambda: len(vocab))
        for w in 'a b c a'.split():
            vocab[w]
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [vocab['a'], vocab['c'], vocab['new'], x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "functions of a loop, with its variable as a default",
        """
        ops = {}
        for n in (1, 2, 3):

            def add(x, n=n):
                return x + n
            ops[n] = add
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [ops[1](x), ops[3](x)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "the last function of a loop, which uses its variable",
        """
        for n in (1, 2, 3):

            def add(x):
                return x + n
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [add(x)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "functions that a decorator registers in a loop",
        """
        reg = {}

        def register(name):

            def deco(f):
                reg[name] = f
                return f
            return deco
        for name in ('a', 'b'):

            @register(name)
            def f(v, name=name):
                return name * v
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [reg['a'](2), reg['b'](2), f(1)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "lambdas of a loop in a list",
        """
        ops = []
        for k in range(3):
            ops.append(lambda v, k=k: v * 10 + k)
        ops.append(lambda v, *, w=len(ops): v + w)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [f(x) for f in ops]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a package that imports its names when they are used",
        """
        import shop
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return shop.price(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        files={
            "shop/__init__.py": """
                import importlib
                def __getattr__(name):
                    if name == "price":
                        value = importlib.import_module("shop.prices").price
                        globals()[name] = value
                        return value
                    raise AttributeError(name)
            """,
            "shop/prices.py": """
                def price(x):
                    return x * 3
            """,
        },
    ),
    Notebook(
        "properties that setattr adds in a loop",
        """
        class A:

            def __init__(self, w, h):
                self.w, self.h = (w, h)
        for name, f in {'area': lambda s: s.w * s.h, 'total': lambda s: s.w + s.h}.items():
            setattr(A, name, property(f))
        # %%
        @lab.post('/ask')
        def ask(x: int):
            a = A(x, 2)
            return [a.area, a.total]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a property that a helper adds",
        """
        class A:

            def __init__(self, w):
                self._w = w
        # %%
        def expose(kind, name):
            setattr(kind, name, property(lambda s: getattr(s, '_' + name)))
        expose(A, 'w')
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return A(x).w
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "an iterator in the middle of a list",
        """
        items = [1, 2, 3, 4]
        it = iter(items)
        next(it)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [next(it), x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "an exhausted iterator",
        """
        it = iter([1])
        list(it)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return list(it)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "the attributes of a class, kept as a value",
        """
        class A:
            rate = 3
        table = vars(A)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return table['rate'] * x
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a module made by its type",
        """
        import types
        m = types.ModuleType('virtual')
        m.rate = 4
        m.f = lambda v: v + 1
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [m.rate, m.f(x)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "records of an array, which calls change",
        """
        import numpy as np
        r = np.zeros(5, dtype=[('v', 'f4')])
        row = r[3]
        kept = []
        kept.append(r[1])
        kept.append(r[::2][1])
        # %%
        @lab.post('/ask')
        def ask(x: int):
            row['v'] = x
            kept[0]['v'] = x + 1
            return r['v'].tolist()
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a vectorized lambda",
        """
        import numpy as np
        f = np.vectorize(lambda a, b: a * 10 + b, otypes=[int])
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [f([1, 2], [3, 4]).tolist()]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "groups and windows of a table, kept",
        """
        import pandas as pd
        df = pd.DataFrame({'k': [7, 8, 7], 'v': [1, 2, 3]})
        g = df.groupby('k')
        r = df.v.rolling(2)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [g.v.sum().to_dict(), r.sum().fillna(0).tolist()]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "endpoints made in a comprehension",
        """
        def make(k):

            def ask(x: int):
                return x * k
            return ask
        made = [lab.post(f'/ask{k}')(make(k)) for k in (2, 3)]
        # %%
        [m(1) for m in made]
        """,
        asks=(
            'POST /ask2 {"x": 5}',
            'POST /ask3 {"x": 5}',
        ),
    ),
    Notebook(
        "a weak set of named objects",
        """
        import weakref

        class A:
            pass
        kept = [A(), A()]
        live = weakref.WeakSet(kept)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [len(live), kept[0] in live]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "single dispatch with registrations by calls",
        """
        from functools import singledispatch

        @singledispatch
        def show(v):
            return 'any'
        # %%
        show.register(int, lambda v: 'int')
        for kind in (str, bytes):
            show.register(kind, lambda v, kind=kind: kind.__name__)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [show(x), show('a'), show(b'')]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "names bound inside expressions",
        """
        if (n := 10) > 5:
            big = [(y := 1), y ** 2]
        print((total := sum((v for v in range(n)))))
        rows = [(last := v) for v in range(4)]
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [n, big, total, rows, last, y]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a descriptor added to a class by hand",
        """
        class Field:

            def __set_name__(s, o, n):
                s.name = n

            def __get__(s, i, o=None):
                return s.name

        class R:
            pass
        f = Field()
        f.__set_name__(R, 'a')
        R.a = f
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return R().a
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "generic classes and their aliases",
        """
        from typing import Generic, TypeVar
        T = TypeVar('T')

        class Box(Generic[T]):

            def __init__(s, v):
                s.v = v
        IntBox = Box[int]
        b = IntBox(3)
        kinds = {'i': Box[int], 's': Box[str]}
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [IntBox(x).v, b.v, str(kinds['i'].__args__[0].__name__)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a class copied by a registered function",
        """
        import copyreg

        class A:

            def __init__(s, v):
                s.v = v
        copyreg.pickle(A, lambda a: (A, (a.v + 1,)))
        a = A(3)
        import copy
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [a.v, copy.copy(a).v]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a table with two levels of rows and columns",
        """
        import pandas as pd
        rows = pd.MultiIndex.from_product([['a', 'b'], [1, 2]], names=['k', 'n'])
        df = pd.DataFrame({'v': [1, 2, 3, 4]}, index=rows)
        df.columns = pd.MultiIndex.from_tuples([('v', 'x')])
        df.loc['a', 2] = 9
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [int(df.loc['a', 2].iloc[0]), df.index.names, df.columns.tolist()]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "times in zones of every kind",
        """
        from datetime import datetime, timezone, timedelta, tzinfo
        from zoneinfo import ZoneInfo

        class Half(tzinfo):

            def utcoffset(s, d):
                return timedelta(minutes=30)

            def dst(s, d):
                return None

            def tzname(s, d):
                return 'half'
        a = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo('Europe/Berlin'))
        b = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2), 'X'))
        c = datetime(2024, 1, 1, tzinfo=Half())
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [a.isoformat(), b.tzname(), c.isoformat(), a.fold]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "names of builtins for other things",
        """
        list = [1, 2]
        sum = lambda v: 'mine'

        def len(v):
            return 42
        id = 'x'
        type = 'T'
        print = str
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [list, sum([1]), len([]), id, type, print(3)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
