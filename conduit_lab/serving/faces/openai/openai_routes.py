"""The routes of OpenAI's API (https://platform.openai.com/docs/api-reference)."""

from __future__ import annotations

from starlette.routing import Route

from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.exchange import protocol_route
from conduit_lab.serving.faces.openai.chat_completions import create_chat_completion
from conduit_lab.serving.faces.openai.embeddings import create_embeddings
from conduit_lab.serving.faces.openai.model_list import list_models, retrieve_model
from conduit_lab.serving.faces.openai.openai_errors import openai_error_body
from conduit_lab.serving.faces.openai.responses import create_response
from conduit_lab.serving.faces.openai.text_completions import create_completion


def routes(app: EndpointHost) -> list[Route]:
    """Return the protocol's routes."""
    reads = {"/v1/models": list_models, "/v1/models/{model:path}": retrieve_model}
    writes = {
        "/v1/chat/completions": create_chat_completion,
        "/v1/completions": create_completion,
        "/v1/embeddings": create_embeddings,
        "/v1/responses": create_response,
    }
    return [
        *(
            protocol_route(
                app, "openai", path, handler, methods=("GET",), error_body=openai_error_body
            )
            for path, handler in reads.items()
        ),
        *(
            protocol_route(app, "openai", path, handler, error_body=openai_error_body)
            for path, handler in writes.items()
        ),
    ]
