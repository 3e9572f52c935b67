"""Site: the files of an exported page: the programs and models of its endpoints."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.views import figures
from conduit_lab.export.web import ort_web
from conduit_lab.export.web.program import Program, Untraceable
from conduit_lab.export.web.tracer import TracedModels, trace
from conduit_lab.export.web.web_model import WebModel
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.faces.docs import joined_modules, page_script, page_style
from conduit_lab.serving.faces.openapi import openapi

_PAGE = Path(__file__).parent / "page"
_MODULES = ("values", "arrays", "combine", "operations", "model", "program", "site")
_IMPORT_RUNTIME = (
    'import { InferenceSession, Tensor as OrtTensor, env } from "./ort/onnxruntime.js";\n'
)
_EXPORTS = "export { Failure, answer, answerText, app, preload };\n"


@dataclass
class Site:
    """The page of an app: a program per endpoint, and the models they run, by name."""

    app: App
    endpoints: Sequence[Endpoint[..., Any]]
    programs: list[Program] = field(default_factory=list)
    models: dict[str, WebModel] = field(default_factory=dict)

    @classmethod
    def of(cls, app: App, endpoints: Sequence[Endpoint[..., Any]]) -> Site:
        """Trace the endpoints; raise an `ExportError` naming all that cannot run in a browser."""
        site, refusals, traced = cls(app, endpoints), {}, TracedModels()
        for endpoint in endpoints:
            try:
                site.programs.append(trace(endpoint, traced))
                for name, model in traced.models.items():
                    if name not in site.models:
                        site.models[name] = WebModel.of(name, model)
            except Untraceable as refusal:
                refusals[id(endpoint)] = _sentence(endpoint, refusal)
        if refusals:
            raise ExportError(_refusal(endpoints, refusals))
        return site

    def write(self, folder: Path, runtime: str | Path | None) -> None:
        """Write all files except the manifest."""
        ort_web.copy_runtime(folder / "ort", runtime)
        for model in self.models.values():
            place = folder / model.place
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(model.content)
        (folder / "app.json").write_bytes(codec.dumps(self._facts()))
        script = joined_modules(*(_PAGE / f"{name}.js" for name in _MODULES))
        page = _PAGE / "page.js"
        index = (_PAGE / "index.html").read_text("utf-8")
        texts = {
            "index.html": index.replace("TITLE", html.escape(self.app.name)),
            "page.css": page_style(),
            "page.js": f"{page_script()}\n{joined_modules(page)}",
            "site.js": f"{_IMPORT_RUNTIME}{script}\n{_EXPORTS}",
            "README.md": self._readme(folder),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")

    def _facts(self) -> dict[str, Any]:
        models = {name: {"file": model.place, **model.facts} for name, model in self.models.items()}
        return {
            "name": self.app.name,
            "runtime": ort_web.ORT_WEB_VERSION,
            "programs": [program.to_json() for program in self.programs],
            "models": models,
            "openapi": openapi(self.app, self.endpoints),
        }

    def _readme(self, folder: Path) -> str:
        first = self.programs[0]
        listed = "\n".join(f"- `{each.method} {each.path}`" for each in self.programs)
        models = "\n".join(
            f"- `{model.place}`, {figures.size(len(model.content))}"
            for model in self.models.values()
        )
        options = "" if first.method == "POST" else f', {{ method: "{first.method}" }}'
        return _README.format(
            name=self.app.name,
            endpoints=listed,
            models=models or "It has no models.",
            version=ort_web.ORT_WEB_VERSION,
            runtime=figures.size(sum(f.stat().st_size for f in (folder / "ort").iterdir())),
            path=json.dumps(first.path),
            options=options,
        )


def _sentence(endpoint: Endpoint[..., Any], refusal: Untraceable) -> str:
    chain = " → ".join(refusal.chain)
    is_said = not chain or refusal.reason.startswith(f"calls {chain},")
    needed = "" if is_said else f" (in {chain})"
    return f"{endpoint.method} {endpoint.path} cannot run in a browser: it {refusal.reason}{needed}"


def _refusal(endpoints: Sequence[Endpoint[..., Any]], refusals: dict[int, str]) -> str:
    left = [each.path for each in endpoints if id(each) not in refusals]
    listed = ", ".join(f'"{path}"' for path in left)
    mend = (
        f"Leave {'it' if len(refusals) == 1 else 'them'} out: "
        f'lab.export(folder, target="web", endpoints=[{listed}])'
        if left
        else "Export a folder that a server runs: lab.export(folder)"
    )
    return "\n".join([*(f"{sentence}." for sentence in refusals.values()), f"{mend}"])


_README = """\
# {name}

A static page whose endpoints run in the browser, on onnxruntime-web {version}. Requests never leave
the browser.

{endpoints}

## Open it

    python -m http.server -d .

and open http://localhost:8000. Browsers do not load models from `file://` pages.

## Publish it

Copy the folder to any static host. Compression (gzip or brotli) reduces the runtime, {runtime}, to
about a quarter.

## Call it from JavaScript

    import {{ answer }} from "./site.js";
    const value = await answer({path}, body{options});

## Files

- `index.html`, `page.js`, `page.css`: the page
- `site.js`, `app.json`: the endpoints, as steps that `site.js` runs
- `examples.jsonl`: the recorded calls; `conduit-lab check .` repeats them in Chromium
- `ort/`: onnxruntime-web {version}, MIT licence, Copyright (c) Microsoft Corporation
{models}
"""
