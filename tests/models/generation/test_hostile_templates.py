"""Chat templates that would run for hours: each is stopped, in a process with a CPU limit.

The limit kills the process, so a template that cannot be stopped fails its test.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from conduit_lab.core.errors import InputError, ModelLoadError, ModelRunError
from conduit_lab.models.generation.chat import ChatTemplate

_CPU_SECONDS = 60  # for all templates together
_BIG = "{% set x = ('f' * 8000000) | int(0, 16) %}{% set y = ('f' * 4000000) | int(0, 16) %}"
TEMPLATES = {
    "nested ranges": "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3,
    "translate": "{{ ('a' * 999999).translate({97: 'b' * 999999}) }}",
    "wordwrap": "{{ ('ab' * 4000000) | wordwrap(1, true, 'x' * 1000) }}",
    "urlize": "{{ ('(' * 500000 + 'www.a.com' + ')' * 500000) | urlize }}",
    "striptags": "{{ ('<!--' * 2000000) | striptags }}",
    "floor of large integers": _BIG + "{{ x // y }}",
    "modulo of large integers": _BIG + "{{ x % y }}",
    "quotient of large integers": _BIG + "{{ x / y }}",
    "large integers as tests": _BIG + "{{ x is divisibleby y }}",
    "digits of large integers": "{{ ('1' * 4000000) | int(0, 3) }}" + _BIG + "{{ x }}",
    "power": "{% set ns = namespace(x=7) %}{% for i in range(64) %}"
    "{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x % 3 }}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "callers": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 40
    + "{% endcall %}" * 40,
    "blocks": "{% set x %}abcdefgh{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "nested lists": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "sorted texts": "{{ (('a' * 1000 ~ ' ') * 4000).split() | sort | unique | list | length }}"
    "{% for i in range(9999) %}{{ (('a' * 1000 ~ ' ') * 4000).split() | sort }}{% endfor %}",
    "dropped characters": "{{ ('a ' * 4000000) | selectattr('role') | list }}",
    "rejected characters": "{{ ('a ' * 4000000) | rejectattr('role') | first }}",
    "dropped elements": "{% set x = [1] * 900000 %}{% for i in range(9999) %}"
    "{{ x | selectattr('role') | list }}{% endfor %}",
    "joined characters": "{{ ('a ' * 4000000) | join(', ') | length }}",
    "joined by a method": "{{ ', '.join('a ' * 4000000) | length }}",
    "sorted characters": "{{ ('ab' * 1250000) | sort | length }}",
    "unique characters": "{{ ('ab' * 1250000) | unique | list | length }}",
    "grouped characters": "{{ ('ab' * 1250000) | groupby('role') | length }}",
    "largest character": "{{ ('ab' * 1250000) | max }}",
    "spread characters": "{{ dict(*('ab' * 4000000)) }}",
    "spread into a macro": "{% macro m() %}{{ varargs | length }}{% endmacro %}"
    "{{ m(*('ab' * 4000000)) }}",
    "spread into a filter": "{{ 'a' | format(*('ab' * 4000000)) }}",
    "a member of a lazy filter": "{{ 3 in (('ab' * 4000000) | map(attribute='x')) }}",
    "json": "{% for i in range(99999) %}{{ ([[]] * 100000) | tojson | length }}{% endfor %}",
    "joined": "{% for i in range(99999) %}{{ range(99999) | join('x' * 80) | length }}{% endfor %}",
}


def _render_all() -> None:
    """Print how each template ends, in the process that may be killed."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    for name, source in TEMPLATES.items():
        try:
            text = ChatTemplate(source, "here", {}).render([{"role": "user", "content": "a"}])
            ended = f"rendered {len(text)}"
        except (InputError, ModelLoadError, ModelRunError) as error:
            ended = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps([name, ended]) + "\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def endings() -> dict[str, str]:
    code = f"from {__name__} import _render_all; _render_all()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 0, f"killed after {list(found)[-1:]}: {done.stderr[-500:]}"
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_hostile_template_is_stopped(endings: dict[str, str], name: str) -> None:
    assert endings[name].startswith("ModelRunError: the chat template of here was stopped: ")


def test_integers_of_a_template_are_bounded() -> None:
    render = ChatTemplate("{{ a * a }} {{ 10 ** 2 }}", "here", {}).render
    with pytest.raises(ModelRunError, match=r"the operator \*\* is not allowed"):
        render([{"role": "user", "content": "a"}], a=3)
    render = ChatTemplate("{{ a // 7 }}", "here", {}).render
    assert render([{"role": "user", "content": "a"}], a=10**4000) == str(10**4000 // 7)
    with pytest.raises(ModelRunError, match="an integer of more than 16384 bits"):
        render([{"role": "user", "content": "a"}], a=10**5000)


@pytest.mark.parametrize("name", ["wordwrap", "urlize", "striptags", "xmlattr", "pprint", "center"])
def test_filters_for_html_and_prose_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelRunError, match=f"the filter {name} is not allowed"):
        ChatTemplate(f"{{{{ 'a' | {name} }}}}", "here", {}).render(
            [{"role": "user", "content": "a"}]
        )
