"""The names that a statement binds, and those whose objects it changes."""

from __future__ import annotations

import ast

import pytest

from conduit_lab.export.effects import ChangeKind, changes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('df["c"] = df["a"] * 2', {"df": "store"}),
        ("cfg.x = 1", {"cfg": "store"}),
        ("a.b['c'].d = e.f", {"a": "store"}),
        ("a.x, b[0] = 1, 2", {"a": "store", "b": "store"}),
        ("names.append(name)", {"names": "method", "name": "argument"}),
        ("cfg['a'].load(path='x')", {"cfg": "method"}),
        ("tally.total = 0", {"tally": "store"}),
        ("tally.total += 1", {"tally": "store"}),
        ("x += 1", {"x": "store"}),
        ("del d['k']", {"d": "store"}),
        ("del d", {}),
        ("apply(cfg, top=5)", {"cfg": "argument"}),
        ("apply(*cfgs, top=cfg.top)", {"cfgs": "argument", "cfg": "argument"}),
        ("random.shuffle(names)", {"random": "method", "names": "argument"}),
        ("await fill(cfg)", {"cfg": "argument"}),
        ("last = names.pop()", {"names": "method"}),
        ("setattr(cfg, 'x', 1)", {"cfg": "store"}),
        ("for word in words:\n    seen[word] += 1", {"seen": "store"}),
        ("while todo:\n    done.append(todo.pop())", {"done": "method", "todo": "method"}),
        ("with lock:\n    cfg.x = 1", {"cfg": "store"}),
        ("if cfg:\n    cfg.x = 1\nelse:\n    other.clear()", {"cfg": "store", "other": "method"}),
        ("@show.register\ndef _(x: int): return x", {"show": "store"}),
        ("@registry.add('a')\nclass A: pass", {"registry": "store"}),
        ("@cache\ndef f(x): return x", {}),
        ("def f():\n    cfg.x = 1\n    names.append(2)", {}),
        ("f = lambda: names.append(1)", {}),
        ("total = add(names)", {}),
        ("print(cfg)", {}),
        ("len(cfg)", {}),
        ("display(cfg)", {}),
        ("df.head()", {}),
        ("cfg", {}),
        ("cfg.x", {}),
        ("made().append(cfg)", {"cfg": "argument"}),
        ("import cfg", {}),
    ],
)
def test_a_change_is_of_the_object_at_the_root(text: str, expected: dict[str, ChangeKind]) -> None:
    assert changes(ast.parse(text).body[0]) == expected
