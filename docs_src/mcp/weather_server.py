"""A server of the Model Context Protocol, written with the `mcp` library."""

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("weather")


# region tools
@server.tool()
async def forecast(city: str) -> str:
    """Tell tomorrow's weather in a city."""
    return f"sun in {city}"


@server.tool()
async def survey(region: str, ctx: Context) -> str:
    """Ask every station of a region, one after the other."""
    for station in (1, 2):
        await ctx.report_progress(station, 2, f"station {station}")
    return f"two stations in {region} have sun"


# endregion tools


@server.tool()
async def recalibrate(station: int) -> str:
    """Recalibrate a station."""
    return f"station {station} is recalibrated"


if __name__ == "__main__":
    server.run()
