"""Servers that run models on this machine. They speak OpenAI's Chat Completions."""

from collections.abc import Mapping

from sidetask.core.ids import value


@value
class LocalServer:
    """A kind of server, and where it listens unless told otherwise."""

    name: str
    port: int
    dialect: str = "openai-chat"
    """The provider of pydantic-ai that knows its ways."""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def variable(self, what: str) -> str:
        """The environment variable that says otherwise: `OLLAMA_BASE_URL`."""
        return f"{self.name.upper().replace('-', '_')}_{what}"


SERVERS: Mapping[str, LocalServer] = {
    server.name: server
    for server in (
        LocalServer("ollama", 11434, "ollama"),
        LocalServer("lmstudio", 1234),
        LocalServer("vllm", 8000, "vllm"),
        LocalServer("llama-server", 8080),
    )
}
