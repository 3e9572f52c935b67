"""Objects that hold each other, and themselves."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a tree whose nodes know their parent",
        """
        class N:

            def __init__(s, v, up=None):
                s.v, s.up, s.kids = (v, up, [])
                if up:
                    up.kids.append(s)
        root = N(1)
        a = N(2, root)
        b = N(3, root)
        leaf = N(4, a)
        by = {k.v: k for k in (root, a, b, leaf)}
        by[9] = leaf
        # %%
        @lab.post('/ask')
        def ask(x: int):
            same = [leaf.up.up is root, by[2] is a, by[9] is by[4], leaf.up is root.kids[0]]
            return [same, [k.v for k in root.kids]]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "dicts that name each other",
        """
        g = {}
        g['a'] = {'out': [], 'name': 'a'}
        g['b'] = {'out': [g['a']], 'name': 'b'}
        g['a']['out'].append(g['b'])
        start = g['a']
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [start['out'][0]['out'][0] is start, g['b']['name']]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "records that hold each other in sets",
        """
        from dataclasses import dataclass, field

        @dataclass(eq=False)
        class E:
            n: str
            friends: set = field(default_factory=set)
        ann = E('ann')
        bob = E('bob')
        ann.friends.add(bob)
        bob.friends.add(ann)
        all_ = {ann, bob}
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [ann in bob.friends, bob in ann.friends, sorted((e.n for e in all_))]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a list linked in both directions",
        """
        class N:
            pass
        head = N()
        tail = N()
        head.next = tail
        tail.prev = head
        head.prev = tail.next = None
        head.lst = [head, tail]
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [head.next.prev is head, head.lst[1] is tail]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a table of methods that its object holds",
        """
        class B:

            def run(s):
                return s.v
        b = B()
        b.v = 4
        table = {'run': b.run}
        b.table = table
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [table['run'](), b.table is table]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a lambda bound to one object by hand",
        """
        import types

        class A:

            def f(s):
                return 1
        a = A()
        a.f = types.MethodType(lambda s: 7, a)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [a.f()]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a function bound to one object by its __get__",
        """
        import types

        class A:

            def f(s):
                return 1
        b = A()

        def g(self):
            return 8
        b.f = g.__get__(b)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return [b.f()]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
