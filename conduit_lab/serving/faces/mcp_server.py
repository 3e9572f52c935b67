"""AppServer: the `mcp` package's server object, with the tools and resources of an app."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.subscriptions import ToolsListChanged
from mcp.types import (
    CallToolResult,
    InputRequiredResult,
    Resource,
    ResourceTemplate,
    Tool,
)

from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.version import __version__
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces import mcp_resources
from conduit_lab.serving.faces.mcp_apps import AppPages
from conduit_lab.serving.faces.mcp_caller import count_fallbacks, remember_request
from conduit_lab.serving.faces.mcp_tasks import Tasks
from conduit_lab.serving.faces.mcp_tools import AppTools, failed_result
from conduit_lab.serving.served_calls import ServedCalls


class AppServer(MCPServer[Any]):
    """An `MCPServer` with an app's endpoints and tools as tools, and its stores as resources.

    They are looked up per request, so later registrations take effect immediately. Tools, prompts
    and resources added with `MCPServer` decorators are served too.
    """

    def __init__(self, app: EndpointHost) -> None:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        self.tasks = Tasks(self._handle_call_tool)
        super().__init__(
            app.name, version=__version__, log_level="WARNING", extensions=[self.tasks, AppPages()]
        )
        # undo the class's configuration of the root logger
        root.handlers[:] = handlers
        root.setLevel(level)
        self.middleware.append(remember_request)
        self._app = app
        self._app_tools = AppTools(app)
        self._added_schema = self.lowlevel.get_tool_input_schema
        self.lowlevel.get_tool_input_schema = self._input_schema
        self._calls = ServedCalls(app, "mcp tools/call")
        self._reads = ServedCalls(app, "mcp resources/read")

    @property
    def lowlevel(self) -> Server[Any]:
        """The low-level server run by transports."""
        return self._lowlevel_server

    def _input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return the schema for checking headers that repeat arguments (SEP-2243)."""
        added = None if self._added_schema is None else self._added_schema(name)
        tool = self._app_tools.get(name) if added is None else None
        return added if tool is None else tool.described().input_schema

    async def announce_tools(self) -> None:
        """Notify subscribed clients that the list of tools has changed."""
        await self._subscriptions.publish(ToolsListChanged())

    async def list_tools(self) -> list[Tool]:
        """Return the app's tools and the added ones."""
        added = await super().list_tools()
        names = {tool.name for tool in added}
        return [*added, *(tool for tool in self._app_tools.listed() if tool.name not in names)]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; an error in one of the app's tools becomes an error result."""
        tool = None if self._tool_manager.get_tool(name) is not None else self._app_tools.get(name)
        added = super().call_tool

        async def call(record: CallRecord) -> CallToolResult | InputRequiredResult:
            if tool is None:
                return await added(name, arguments, context)
            try:
                return await tool.call(arguments, context)
            finally:
                count_fallbacks(record)

        try:
            return await self._calls.run(call)
        except Exception as error:
            if tool is None:
                raise
            return failed_result(error, tool)

    async def list_resources(self) -> list[Resource]:
        """Return the app's stores and the added resources."""
        return [*await super().list_resources(), *mcp_resources.store_resources(self._app)]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """Return a template per store, for its entries, and the added templates."""
        added = await super().list_resource_templates()
        return [*added, *mcp_resources.entry_templates(self._app)]

    async def read_resource(
        self, uri: Any, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a store, one of its entries, or an added resource."""
        added = super().read_resource

        async def read(
            record: CallRecord,
        ) -> Iterable[ReadResourceContents] | InputRequiredResult:
            found = await mcp_resources.read_store(self._app, str(uri))
            return await added(uri, context) if found is None else found

        return await self._reads.run(read)
