"""Equal values that code compares by identity."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "equal tuples of two cells, compared by is",
        """
        A = (1, 2)
        # %%
        B = (1, 2)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [A is B, A is not B, x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*identity",
    ),
    Notebook(
        "a mark that is a tuple, as a default",
        """
        UNSET = ('unset',)
        # %%
        def pick(v=UNSET):
            return 'none' if v is UNSET else v
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [pick(), pick(x), pick(('unset',))]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*identity",
    ),
    Notebook(
        "a mark in a closure",
        """
        def make(mark):

            def f(v):
                return v is mark
            return f
        MARK = ('m',)
        f = make(MARK)
        # %%
        OTHER = ('m',)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [f(MARK), f(OTHER)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*identity",
    ),
    Notebook(
        "nodes compared by is, beside equal texts and numbers",
        """
        LABEL = 'New York'
        rates = []
        for i in range(3):
            rates.append(0.25 * 2 * 3.7)
        # %%
        DEFAULT = 'New York'
        W = 3000
        # %%
        V = 3000

        class Node:

            def __init__(self, v, parent=None):
                self.v, self.parent = (v, parent)
        root = Node(1)
        leaf = Node(2, root)

        def depth(node):
            n = 0
            while node is not root:
                node = node.parent
                n += 1
            return n

        def same(a, b):
            return a is b or a.v == b.v
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [depth(leaf), same(root, leaf), LABEL, DEFAULT, rates, V, W]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "comparisons with None, types, members and a sentinel",
        """
        LABEL = 'New York'
        rates = []
        for i in range(3):
            rates.append(0.25 * 2 * 3.7)
        # %%
        DEFAULT = 'New York'
        W = 3000
        # %%
        V = 3000
        from enum import Enum

        class C(Enum):
            RED = 'New York'
        MISSING = object()

        class A:
            pass

        def f(a=MISSING, b=None):
            kinds = [type(a) is type(b), type(a) is int, a.__class__ is A]
            found = [a is MISSING, b is None, b is True, a is C.RED, a is ...]
            return kinds, found, b is not NotImplemented
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [f(), f(x), f(C.RED), LABEL, DEFAULT, rates, V, W]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a match of None and True, beside equal values",
        """
        LABEL = 'New York'
        rates = []
        for i in range(3):
            rates.append(0.25 * 2 * 3.7)
        # %%
        DEFAULT = 'New York'
        W = 3000
        # %%
        V = 3000
        MODE = 'fast mode'
        # %%
        @lab.post('/ask')
        def ask(x: int):
            match x:
                case None:
                    return 1
                case True:
                    return 2
                case _:
                    return [LABEL, DEFAULT, V, W, rates]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a NaN that a list finds again",
        """
        NAN = float('nan')
        seen = [1.0]
        seen.append(NAN)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [NAN in seen, seen.index(NAN) if NAN in seen else -1, x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
