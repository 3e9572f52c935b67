"""The files that deploy an export: valid by the tools of their formats, and true of the app."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numkong
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import ExportError
from conduit_lab.export.deployment.container import STRIP
from conduit_lab.export.deployment.deployment import Deployment, label_of
from conduit_lab.export.deployment.deployment_files import FILES, deployment_files
from conduit_lab.serving.limits import Limits
from tests.export.session import Session, answers

PLAIN = Deployment("desk", "3.11", 300, False, None, 2**24, 2**15)
FULL = replace(PLAIN, label="support-desk", stores=True, onnxruntime="1.32.0")
APART = replace(FULL, remote={"support-desk-minilm": "minilm", "support-desk-gr-e": "größe"})
CODES = replace(FULL, codes=True)
DEPLOYMENTS = [
    pytest.param(PLAIN, id="plain"),
    pytest.param(FULL, id="model and stores"),
    pytest.param(CODES, id="large stores"),
    pytest.param(APART, id="remote models"),
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_dockerfile_has_no_finding(tmp_path: Path, deployment: Deployment) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(deployment_files(deployment)["Dockerfile"])
    tool = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([tool, file], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_manifests_are_strictly_valid(tmp_path: Path, deployment: Deployment) -> None:
    file = tmp_path / "k8s.yaml"
    file.write_text(deployment_files(deployment)["k8s.yaml"])
    tool = Path(sys.executable).with_name("kubernetes-validate")
    done = subprocess.run([tool, "--strict", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(file.read_text())]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_yaml_files_name_what_the_others_make(deployment: Deployment) -> None:
    files = deployment_files(deployment)
    compose = yaml.safe_load(files["compose.yaml"])
    assert set(compose["services"]) == {"app", "proxy"}
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in compose["services"]["proxy"]["volumes"]
    serve = yaml.safe_load(files["serve.yaml"])["applications"][0]
    module, name = serve["import_path"].split(":")
    assert re.search(rf"^def {name}\(args\):", files[f"{module}.py"], re.MULTILINE)
    names = [each["name"] for each in serve["deployments"]]
    assert names == [deployment.label, *deployment.remote]
    assert serve.get("args") == (None if deployment is PLAIN else {"gpus": 0})


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_python_of_a_deployment_has_no_finding(tmp_path: Path, deployment: Deployment) -> None:
    file = tmp_path / "serve_app.py"
    file.write_text(deployment_files(deployment)["serve_app.py"])
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--isolated"], ["format", "--isolated", "--check"]):
        done = subprocess.run(
            [ruff, *command, "--line-length", "100", file],
            cwd=tmp_path,  # away from the package, as in an export
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_remote_model_has_a_deployment_of_its_own(session: Session) -> None:
    session.run(
        """
        sign = lab.load_model("models/sign.npz", remote=True)
        other = lab.load_model("models/sign.npz", remote=True, name="Sign")
        unused = lab.load_model("models/sign.npz", remote=True, name="unused")

        @lab.post("/sign")
        def ask(x: float):
            return [model.predict([x, x]).label for model in (sign, other)]
        """,
        "ask(1.0)",
    )
    folder = session.export().folder
    source = (folder / "app.py").read_text("utf-8")
    assert 'lab.load_model("models/sign.npz", remote=True)' in source
    deployments = yaml.safe_load((folder / "serve.yaml").read_text())["applications"][0]
    names = [each["name"] for each in deployments["deployments"]]
    assert names == ["desk", "desk-sign", "desk-sign2"]
    assert '{"desk-sign": "sign", "desk-sign2": "Sign"}' in (folder / "serve_app.py").read_text()
    assert answers(folder) == [None]  # in one process
    session.run('other = lab.load_model("models/sign.npz", remote=True)', "ask(1.0)")
    with pytest.raises(ExportError, match=r"two models with remote=True are named 'sign': .*name="):
        session.export()


def test_a_remote_model_of_a_module_has_a_deployment_of_its_own(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(session.root))
    package = session.root / "kettle_signs"
    package.mkdir()
    shutil.copy(session.root / "models" / "sign.npz", package)
    (package / "__init__.py").write_text(
        "from pathlib import Path\n"
        "from conduit_lab import load_model\n"
        "sign = load_model(Path(__file__).parent / 'sign.npz', remote=True)\n"
    )
    session.run(
        """
        import kettle_signs

        @lab.post("/sign")
        def ask(x: float):
            return kettle_signs.sign.predict([x, x]).label
        """,
        "ask(1.0)",
    )
    try:
        folder = session.export(proof="process").folder
    finally:
        del sys.modules["kettle_signs"]
    assert '{"desk-sign": "sign"}' in (folder / "serve_app.py").read_text("utf-8")
    assert "load_model" not in (folder / "app.py").read_text("utf-8")
    code = (
        "import app, kettle_signs\n"
        "from conduit_lab.serving.run.ray_models import hosted, use_deployments\n"
        "print(hosted(app.app, 'sign').facts().device)\n"
        "use_deployments(app.app, {'desk-sign': 'sign'}, lambda name: None)\n"
        "print(kettle_signs.sign.options.remote.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["numpy", "desk-sign"], done.stderr


def test_stores_are_copied_out_of_the_read_only_image() -> None:
    pod = next(yaml.safe_load_all(deployment_files(FULL)["k8s.yaml"]))["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["volumeMounts"] == [
        {"name": "indexes", "mountPath": "/indexes"}
    ]
    assert {"name": "indexes", "mountPath": "/app/indexes"} in pod["containers"][0]["volumeMounts"]
    assert "indexes" in yaml.safe_load(deployment_files(FULL)["compose.yaml"])["volumes"]
    assert "indexes" not in "".join(deployment_files(PLAIN).values())


def test_only_the_image_of_large_stores_has_numkong_stripped() -> None:
    file = deployment_files(CODES)["Dockerfile"]
    assert "/packages/lib/python3*/site-packages/numkong/*.so" in file
    assert [line for line in file.splitlines() if line.startswith("FROM")] == [
        "FROM python:3.11 AS packages",  # with binutils
        "FROM python:3.11-slim",
    ]
    assert "strip" not in deployment_files(FULL)["Dockerfile"]
    assert "python:3.11 " not in deployment_files(FULL)["Dockerfile"]


@pytest.mark.parametrize("entries", [3, 4])
def test_only_a_large_store_requires_numkong_and_its_image_strips_it(
    entries: int, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit_lab.export.assets.LARGE_STORE_ENTRIES", 4)
    session.run(
        "shelf = lab.vector_store('shelf', dimension=2)",
        f"for n in range({entries}): shelf.add(str(n), [n, 1])",
        "@lab.post('/near')\ndef near(x: float):\n    return len(shelf.search([x, 1]))",
        "near(1.0)",
    )
    folder = session.export().folder
    for name in ("Dockerfile", "requirements.txt"):
        assert ("numkong" in (folder / name).read_text("utf-8")) is (entries == 4)
    text = (folder / "README.md").read_text("utf-8")
    assert ("strip --strip-debug" in text) is (entries == 4)
    assert ("`numkong==" in text) is (entries == 3)


@pytest.mark.parametrize("hint", ["NDArray[np.float32]", "list[float]"])
def test_only_an_app_with_an_array_parameter_requires_its_parser(
    hint: str, session: Session
) -> None:
    session.run(
        "import numpy as np\nfrom numpy.typing import NDArray",
        f"@lab.post('/sum')\ndef total(x: {hint}) -> float:\n    return float(np.sum(x))",
        "total([0.125] * 1_000)",  # long enough to be parsed by it
    )
    pins = (session.export().folder / "requirements.txt").read_text("utf-8")
    assert ("pysimdjson==" in pins) is (hint != "list[float]")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strip") is None, reason="binutils are not installed")
def test_numkong_computes_the_same_without_its_debug_information(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("numkong", "numkong.libs"):
        shutil.copytree(Path(numkong.__file__).parents[1] / name, place / name)
    (library,) = place.glob("numkong/*.so")
    before = library.stat().st_size
    subprocess.run(STRIP.format(environment=tmp_path), shell=True, check=True)
    assert library.stat().st_size < before / 5
    code = """
import hashlib, numkong, numpy as np
rows = np.random.default_rng(0).integers(-127, 127, (500, 384), np.int8)
found = numkong.dots_packed(rows[:9].copy(), numkong.dots_pack(rows))
print(numkong.__file__, hashlib.sha256(np.asarray(found).tobytes()).hexdigest())
"""
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for path in ("", str(place))
    ]
    assert answers[0][1] == answers[1][1]
    assert Path(answers[1][0]).is_relative_to(place)


def test_gpus_are_one_argument_where_a_model_needs_onnxruntime() -> None:
    files = deployment_files(FULL)
    assert "ARG RUNTIME=cpu" in files["Dockerfile"]
    assert '"onnxruntime-gpu[cuda,cudnn]==1.32.0"' in files["Dockerfile"]
    for gpu, runtime, image in (("", "", ""), ("1", "nvidia", "gpu")):
        text = re.sub(r"\$\{GPU:\+([\w,]+)\}", r"\1" if gpu else '""', files["compose.yaml"])
        app = yaml.safe_load(text)["services"]["app"]
        assert (app["runtime"], app["build"]["args"]["RUNTIME"]) == (runtime, image)
    line = next(line for line in files["k8s.yaml"].splitlines() if "nvidia" in line)
    assert line == "# kubectl set resources deployment support-desk --limits nvidia.com/gpu=1"
    assert "gpus: 0" in files["serve.yaml"]
    for text in deployment_files(PLAIN).values():
        assert not re.search("onnxruntime|nvidia|GPU=", text)


def test_the_proxy_has_the_limits_of_the_app(session: Session) -> None:
    session.lab.limits = Limits(body_bytes=12_345, header_bytes=16_384)
    deployment = Deployment.of(session.lab, session.root, None)
    proxy = deployment_files(deployment)["nginx.conf"]
    assert "client_max_body_size 12345;" in proxy
    assert "large_client_header_buffers 8 2048;" in proxy


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("support-desk", "support-desk"),
        ("Desk of Ada", "desk-of-ada"),
        ("größe", "gr-e"),
        ("7 seas", "app-7-seas"),
        ("日本", "app"),
        ("a" * 60, "a" * 40),
    ],
)
def test_a_name_becomes_a_label_of_dns(name: str, label: str) -> None:
    assert label_of(name) == label


@given(st.text())
def test_every_name_becomes_a_label_of_dns(name: str) -> None:
    assert re.fullmatch(
        r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?|app(-[a-z0-9-]{0,39}[a-z0-9])?", label_of(name)
    )


def test_an_export_has_each_file_that_its_readme_names(session: Session) -> None:
    session.run("@lab.get('/a')\ndef a():\n    return 1", "a()")
    folder = session.export().folder
    readme = (folder / "README.md").read_text("utf-8")
    named = set(re.findall(r"[\w/-]+\.(?:yaml|txt|py|jsonl|conf|svg)\b", readme))
    assert named >= {"requirements.txt", "k8s.yaml", "serve.yaml", "examples.jsonl"}
    assert {name for name in named if not (folder / name).is_file()} == {"proof.svg"}  # no proof
    assert set(FILES) <= {path.name for path in folder.iterdir()}
