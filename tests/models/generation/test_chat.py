from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError, MissingExtra, ModelLoadError, ModelRunError
from conduit_lab.models.generation.chat import ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim }}"
    "{{ '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ALTERNATING = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def template(source: str, **special: str) -> ChatTemplate:
    return ChatTemplate(source, "writer/tokenizer_config.json", special)


def folder(path: Path, config: Any) -> Path:
    (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


# Rendering


def test_messages_become_the_prompt() -> None:
    messages = [{"role": "system", "content": "Be kind. "}, *HELLO]
    assert template(CHATML).render(messages) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (
        template(CHATML).render(HELLO, add_generation_prompt=False)
        == "<|im_start|>user\nHello<|im_end|>\n"
    )


def test_special_tokens_are_variables_and_a_template_may_reject() -> None:
    alternating = template(ALTERNATING, bos_token="<s>", eos_token="</s>")
    answered = [*HELLO, {"role": "assistant", "content": "Hi"}]
    assert alternating.render(answered) == "<s>[INST] Hello [/INST]Hi</s>"
    with pytest.raises(
        InputError, match="the chat template rejects these messages: roles must alternate"
    ):
        alternating.render(HELLO * 2)


def test_template_has_the_variables_of_transformers() -> None:
    source = (
        "{%- set ns = namespace(found=false) -%}\n"
        "{%- for tool in tools %}{% set ns.found = true %}{{ tool | tojson }}{% endfor %}\n"
        "{%- if ns.found %} {{ strftime_now('%Y') | length }}{% endif %}\n"
        "    {%- for x in [1, 2, 3] %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}\n"
        "{% generation %} {{ dict(a=1).items() | list | length }}{% endgeneration %}"
        "{% if enable_thinking is defined and not enable_thinking %} quiet{% endif %}"
    )
    tools = [{"name": "<ö>", "n": [1, None]}]
    got = template(source).render(HELLO, tools=tools, enable_thinking=False)
    assert got == '{"name": "<ö>", "n": [1, null]} 412 1 quiet'


def test_macros_sets_and_loop_variables() -> None:
    source = (
        "{% macro say(m) %}{{ m.role ~ ': ' ~ m.content }}{% endmacro %}"
        "{% for m in messages %}{{ say(m) }}{{ ' ' if not loop.last }}{{ loop.length }}{% endfor %}"
        "{% set rest %}{% for m in messages[1:] %}|{{ m['content'].split('l') | join('L') }}"
        "{% endfor %}{% endset %}"
        "{{ rest }}{{ '%s-%s' | format('a', 'b') }}{{ 'aXb'.replace('X', '--') }}"
    )
    messages = [*HELLO, {"role": "assistant", "content": "well"}]
    assert template(source).render(messages) == "user: Hello 2assistant: well2|weLLa-ba--b"


def test_formats_equal_pythons() -> None:
    source = (
        "{{ 'In 2023: {} {:>6} {name!r}'.format('ab', 7, name='b') }}|"
        "{{ '%s %5d%% %.2f' | format('a', 7, 1.5) }}|{{ '%(k)s' | format(k='c') }}"
    )
    assert template(source).render(HELLO) == "In 2023: ab      7 'b'|a     7% 1.50|c"
    assert (
        template("{{ '{0[role]} {0[content]}'.format(messages[0]) }}").render(HELLO) == "user Hello"
    )


def test_rendering_is_repeatable() -> None:
    chatml = template(CHATML)
    assert chatml.render(HELLO) == chatml.render(HELLO)


@given(st.text(), st.text())
def test_contents_are_not_escaped(first: str, second: str) -> None:
    parts = [{"type": "text", "text": first}, {"type": "text", "text": second}]
    plain = template("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert plain.render([{"role": "user", "content": parts}]) == f"{first}\n{second}"


def test_content_is_not_a_template() -> None:
    message = {"role": "user", "content": "{{ 7 * 7 }}{% for x in y %}"}
    assert template("{{ messages[0].content }}").render([message]) == message["content"]


def test_assistant_may_only_call_tools_and_empty_fields_are_ignored() -> None:
    calls = [{"function": {"name": "look", "arguments": {"at": 1}}}]
    answer = {
        "role": "assistant",
        "content": None,
        "tool_calls": calls,
        "refusal": None,
        "annotations": [],
    }
    source = "{{ messages[0].content is none }} {{ messages[0].tool_calls[0].function.name }}"
    assert template(source).render([answer]) == "True look"


# Invalid messages


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hi", r"messages expects a list of \{.*, got str"),
        ({"role": "user"}, r"messages expects a list of \{.*, got dict"),
        ([], "expected 1 to 10000 messages, got 0"),
        (HELLO * 10_001, "expected 1 to 10000 messages, got 10001"),
        (["hi"], r"messages\[0\] expects \{.*, got str"),
        (
            [*HELLO, {"content": "x"}],
            r"messages\[1\] expects a role of system, developer, user, .*, got 'None'",
        ),
        ([{"role": "root", "content": "x"}], r"messages\[0\] expects a role of .*, got 'root'"),
        ([{"role": ["user"], "content": "x"}], r"messages\[0\] expects a role of"),
        (
            [{"role": "user"}],
            r"messages\[0\] expects a string or text parts as content, got NoneType",
        ),
        ([{"role": "user", "content": 5}], r"messages\[0\] expects a string .*, got int"),
        ([{"role": "user", "content": []}], r"messages\[0\] expects a string .*, got list"),
        (
            [{"role": "assistant", "content": None}],
            r"messages\[0\] expects a string .*, got NoneType",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}],
                }
            ],
            r"messages\[0\] expects parts .*, got type 'image_url': .* nothing is fetched",
        ),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            r"messages\[0\] expects parts .*, got type 'text'",
        ),
        ([{"role": "user", "content": ["x"]}], r"messages\[0\] expects parts .*, got type 'str'"),
        (
            [{"role": "user", "content": "x", "image": "a"}],
            r"messages\[0\] expects role, content .*, got 'image'",
        ),
        (
            [{"role": "user", "content": "x", "name": object()}],
            r"messages\[0\].name expects JSON values, got object",
        ),
    ],
)
def test_invalid_message_is_named(messages: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        template(CHATML).render(messages)


def test_too_long_messages_are_rejected() -> None:
    with pytest.raises(
        InputError, match="expected messages of at most 8388608 characters, got 8388609"
    ):
        template(CHATML).render([{"role": "user", "content": "a" * (8 * 2**20 + 1)}])


def test_deeply_nested_data_is_rejected() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(
        InputError, match=r"messages\[0\].tool_calls expects at most 32 levels of nesting"
    ):
        template(CHATML).render([{"role": "user", "content": "x", "tool_calls": deep}])


def test_data_of_32_levels_is_accepted() -> None:
    deep: Any = 1
    for _ in range(32):
        deep = [deep]
    message = {"role": "user", "content": "x", "tool_calls": deep}
    assert "user" in template(CHATML).render([message])
    with pytest.raises(InputError, match="at most 32 levels"):
        template(CHATML).render([{**message, "tool_calls": [deep]}])


def test_error_inside_a_template_is_reported() -> None:
    with pytest.raises(
        InputError,
        match=r"the chat template cannot render these messages: UndefinedError: .*nothing",
    ):
        template("{{ nothing.at.all }}").render(HELLO)


# Hostile templates

NESTED = (  # lists of 2**40 elements, in 40 lists
    "{% set ns = namespace(x=[1], y=[1]) %}"
    "{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
)
USES = (
    "{{ ns.x }}",
    "{{ ns.x | tojson }}",
    "{{ ns.x == ns.y }}",
    "{{ [ns.x, ns.y] | sort }}",
    "{{ [ns.x].count(ns.y) }}",
    "{% for x in [ns.x, ns.y] %}{{ loop.changed(x) }}{% endfor %}",
)
KEPT = (
    "{{% set ns = namespace(x=0) %}}"
    "{{% for i in range(9999) %}}{{% set ns.x = [ns.x, {}] %}}{{% endfor %}}"
)
GROWING = (
    "{{% set ns = namespace(x={}) %}}{{% for a in range(99) %}}{{% set ns.x = {} %}}{{% endfor %}}"
)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
        "{{ f(40) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in [1] recursive %}{{ loop([1, 2]) }}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 1000000000 * 'a' }}",
        "{{ ([1] * 1000000000) | length }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ strftime_now('%999999999d') }}",
        "{{ 'a'.ljust(999999999) }}{{ 'a' | center(999999999) }}",
        "{{ 'a' | center(999999999) }}",
        "{{ ('a\n' * 9999) | indent(9999) }}",
        "{{ ('\t' * 9999).expandtabs(9999) }}",
        "{{ [[1]] | tojson(indent=9999999) }}",
        "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
        "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
        "{{ ('a' * 99999).join(['b'] * 99999) }}",
        "{{ (['b'] * 99999) | join('a' * 99999) }}",
        GROWING.format("'ab'", "ns.x ~ ns.x"),
        GROWING.format("'ab'", "ns.x + ns.x"),
        GROWING.format("99", "ns.x * ns.x"),
        "{% set x = 'abcdefgh' * 99 %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
        "{% for a in range(99999) %}" + "a" * 9999 + "{% endfor %}",
        "{% for a in range(99999) %}{{ '" + "a" * 9999 + "' }}{% endfor %}",
        *(NESTED + use for use in USES),
        "{{ ('a' * 99999).translate({97: 'b' * 99999}) }}",
        "{{ ('a b ' * 999999) | wordwrap(1) }}",
        "{{ ('http://a.b/' * 99999) | urlize }}",
        "{{ ('<' * 999999) | striptags }}",
        "{{ ''.join(range(9999) | map(attribute='x', default='a' * 999999)) }}",
        "{{ range(9999) | map(attribute='x', default='a' * 999999) | join }}",
        "{{ 5 | round(-8000000) }}",
        "{{ (5).to_bytes(8000000, 'big') }}",
        "{{ ('a' * 8000000).encode('utf-32') }}",
        "{{ [1] | batch(8000000, 1) | list }}",
        "{{ [1] | slice(8000000) | list }}",
        "{{ ('{:999}' * 99999).format(*([1] * 99999)) }}",
        "{{ ('%999d' * 99999) | format(*([1] * 99999)) }}",
        "{{ '%*d' | format(8000000, 1) }}",
        "{{ '{:{}}'.format(1, 8000000) }}",
        "{{ [1] | tojson(separators=('a' * 99999, ':')) }}",
        "{{ ('a' * 4000000).strip('b' * 3999999 ~ 'a') }}",
        "{{ strftime_now('%A' * 2000000) }}",
        KEPT.format("('a ' * 4000000).split()"),
        KEPT.format("('a' * 8000000) | list"),
        KEPT.format("('a' * 8000000)[1:]"),
        KEPT.format("'a' | center(8000000)"),
        KEPT.format("'a'.zfill(8000000)"),
        KEPT.format("('a' * 4000000) | upper"),
        KEPT.format("[1] * 8000000"),
        KEPT.format("range(99999) | list"),
        KEPT.format("range(99999) | list | sort"),
        "a" * 2**19,
        "{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}",
    ],
)
def test_template_beyond_its_budget_is_stopped(source: str) -> None:
    with pytest.raises(
        ModelRunError, match=r"^the chat template of writer/tokenizer_config.json was stopped: "
    ):
        template(source).render(HELLO)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "(?!unb)"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "unbounded recursion$"),
    ],
)
def test_reason_of_a_stopped_template_is_named(source: str, reason: str) -> None:
    with pytest.raises(ModelRunError, match=f"was stopped: {reason}"):
        template(source).render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ messages.append(1) }}",
        "{{ ''['__class__']['__base__'] }}",
        "{{ ('' | attr('__class__')).mro() }}",
        "{% include '/etc/hostname' %}",
        "{% import 'os' as os %}",
        "{{ lipsum() }}",
    ],
)
def test_template_has_no_access_beyond_its_variables(source: str) -> None:
    with pytest.raises(InputError, match="the chat template cannot render these messages"):
        template(source).render(HELLO)


@pytest.mark.parametrize(
    "nested",
    ["{% for a in [1] %}" * 60 + "{% endfor %}" * 60, "{% autoescape true %}{% endautoescape %}"],
)
def test_unsupported_template_is_named(nested: str) -> None:
    with pytest.raises(
        ModelLoadError, match=r"^writer/tokenizer_config.json has an invalid chat template"
    ):
        template(nested).render(HELLO)


def test_hash_of_nested_tuples_is_charged() -> None:
    nested = NESTED.replace("[1]", "(1,)").replace("[ns.x, ns.x]", "(ns.x, ns.x)")
    for use in ("{{ {ns.x: 1} }}", "{{ {1: 1}[ns.x] }}"):
        with pytest.raises(ModelRunError, match="was stopped"):
            template(nested + use).render(HELLO)


def test_long_and_many_messages_are_within_the_budget() -> None:
    for messages in ([{"role": "user", "content": "word " * 1_500_000}], HELLO * 1_000):
        text = template(CHATML).render(messages)
        assert text.count("<|im_end|>") == len(messages)


# Folders


def test_template_of_the_config_with_its_special_tokens(tmp_path: Path) -> None:
    config = {
        "chat_template": "{{ bos_token }}{{ eos_token }}",
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
    }
    assert ChatTemplate.read(folder(tmp_path, config)).render(HELLO) == "<s></s>"


def test_template_file_takes_precedence(tmp_path: Path) -> None:
    folder(tmp_path, {"chat_template": "old", "bos_token": "<s>"})
    (tmp_path / "chat_template.jinja").write_text("new {{ bos_token }}ö", encoding="utf-8")
    assert ChatTemplate.read(tmp_path).render(HELLO) == "new <s>ö"


def test_named_templates(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    folder(tmp_path, {"chat_template": named})
    assert ChatTemplate.read(tmp_path).render(HELLO) == "plain"
    assert ChatTemplate.read(tmp_path, "tool_use").render(HELLO) == "tools"
    with pytest.raises(
        ModelLoadError, match="has no chat template 'rag': expected one of default, tool_use"
    ):
        ChatTemplate.read(tmp_path, "rag")


def test_folder_without_a_template_names_the_next_step(tmp_path: Path) -> None:
    for config in ({}, {"chat_template": None}):
        with pytest.raises(
            InputError,
            match=rf"{tmp_path.name} has no chat template: pass a prompt string instead .*"
            r"chat_template\.jinja",
        ):
            ChatTemplate.read(folder(tmp_path, config)).render(HELLO)
    (tmp_path / "tokenizer_config.json").unlink()
    assert ChatTemplate.read(tmp_path).source is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a list: expected a JSON object"),
        ('{"chat_template": 5}', "expects a string as chat_template, got int"),
        ('{"chat_template": []}', "has no chat template 'default': expected one of none"),
        ('{"chat_template": [{"name": "default"}, {"template": "x"}, 7]}', None),
    ],
)
def test_invalid_config_is_named(tmp_path: Path, config: str, message: str | None) -> None:
    (tmp_path / "tokenizer_config.json").write_text(config, encoding="utf-8")
    if message is None:
        assert ChatTemplate.read(tmp_path).source is None
        return
    with pytest.raises(ModelLoadError, match=rf"tokenizer_config\.json {message}"):
        ChatTemplate.read(tmp_path)


def test_invalid_template_is_named_with_its_line() -> None:
    with pytest.raises(
        ModelLoadError,
        match=r"tokenizer_config\.json has an invalid chat template, line 2: ",
    ):
        template("a\n{% for %}").render(HELLO)


def test_binary_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelLoadError, match=r"chat_template\.jinja is not UTF-8"):
        ChatTemplate.read(tmp_path)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match="a chat template needs jinja2, which is not installed"):
        template(CHATML).render(HELLO)
