"""The page's modules in Node, without a browser and without onnxruntime-web."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from conduit_lab.export.web import site
from conduit_lab.serving.faces.docs import joined_modules
from tests.serving.clients.node import NODE

SECONDS = 60.0
MODULES = ("values", "arrays", "combine", "operations", "model", "program")


def run_in_node(code: str, given: Any) -> Any:
    """Run code after the page's modules, with `given` as JSON text; return the printed JSON."""
    folder = Path(site.__file__).parent / "page"
    modules = joined_modules(*(folder / f"{name}.js" for name in MODULES))
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input=f"{modules}\nconst given = {json.dumps(json.dumps(given))};\n{code}",
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_programs(calls: list[dict[str, Any]]) -> list[Any]:
    """Run programs without models on their arguments; an answer is a text, a failure a list."""
    code = """
    const answers = [];
    for (const { program, body } of JSON.parse(given)) {
      const value = parseJson(body);
      const query = value instanceof Map ? value : new Map();
      try {
        answers.push(writeJson(await run(program, { path: new Map(), query, body: value }, {})));
      } catch (error) {
        answers.push([error.message]);
      }
    }
    console.log(JSON.stringify(answers));
    """
    found: list[Any] = run_in_node(code, calls)
    return found
