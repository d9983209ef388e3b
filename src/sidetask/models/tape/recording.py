"""A model that writes down what another one is asked and replies."""

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from os import urandom
from pathlib import Path

from sidetask.core.errors import CodecError, RateLimitedError, TapeError
from sidetask.core.jsons import Json
from sidetask.core.messages import Message
from sidetask.core.usage import Price
from sidetask.models.base import Chunk, Finished, Model, ModelRequest, ToolSchema
from sidetask.models.tape import format as form

HISTORIES = 16
"""Conversations whose messages are known without being looked at: those asked last."""
PARTS = 10_000
"""Parts that are known to be on the tape; one that was forgotten is written again."""
BUFFER = 1 << 20
"""Characters of a reply that are kept before they are written."""

_log = logging.getLogger(__name__)


class RecordingModel:
    """Passes everything on to `model`, and appends it to the tape at `path`.

    A file that is there is added to. Each reply is on the disk when it has ended. If the tape
    cannot be written, that is logged and kept in `error`, and the conversation goes on without
    it. The tape holds what was said: the file is made for its owner's eyes only.

    Raises:
        TapeError: There is something else in the file, or it cannot be opened.
    """

    def __init__(self, model: Model, path: str | Path) -> None:
        self.model = model
        self.path = Path(path)
        self.error: Exception | None = None
        """What ended the recording; None: nothing has."""
        self._session = urandom(6).hex()
        self._count = 0
        self._known: OrderedDict[str, None] = OrderedDict()
        self._histories: OrderedDict[int, _History] = OrderedDict()
        self._tools: tuple[tuple[ToolSchema, ...] | None, str] = (None, "")
        self._begin()

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def quota_key(self) -> str:
        return self.model.quota_key

    @property
    def context_window(self) -> int | None:
        return self.model.context_window

    @property
    def price(self) -> Price | None:
        return self.model.price

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk]]:
        recorded = _Recorded(self, request)
        try:
            async with AsyncExitStack() as stack:
                try:
                    chunks = await stack.enter_async_context(self.model.stream(request))
                except Exception as error:  # the one boundary: it is noted, and goes on
                    recorded.failed(error)
                    raise
                yield await stack.enter_async_context(aclosing(recorded.heard(chunks)))
        finally:
            recorded.close()

    # -- writing ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        model = self.model
        header = form.line(
            tape=form.VERSION,
            session=self._session,
            model=model.name,
            context_window=model.context_window,
            price=form.plain_price(model.price),
        )
        try:
            if self.path.exists() and self.path.stat().st_size:
                form.check_tape(self.path)
                if not _ends_a_line(self.path):  # whoever wrote it has died in the middle
                    header = "\n" + header
            _append(self.path, header)
        except OSError as error:
            raise TapeError(str(self.path), error.strerror or str(error)) from None

    def append(self, lines: Sequence[str]) -> None:
        """Put lines on the tape."""
        if self.error is None and lines:
            try:
                _append(self.path, "".join(lines))
            except OSError as error:
                self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """Record no more."""
        if self.error is None:
            self.error = error
            _log.error("%s is recorded no further: %s", self.path, error)

    def begin_call(self, request: ModelRequest) -> tuple[str, list[str]]:
        """The id of a call, and the lines that say what is asked."""
        self._count += 1
        call = f"{self._session}-{self._count}"
        lines: list[str] = []
        digests, like = self._digests(request.messages, lines)
        tools = self._digest_of_tools(request.tools, lines)
        settings = form.without_secrets(request.settings)
        asked: dict[str, Json] = {
            "instructions": request.instructions,
            "settings": settings,
            "tail": request.tail,
        }
        digest = form.request_digest(
            digests,
            tools,
            instructions=request.instructions,
            settings=settings,
            tail=request.tail,
        )
        shared: dict[str, Json] = {} if like is None else {"like": like[0], "same": like[1]}
        new: list[Json] = [*digests[like[1] if like is not None else 0 :]]
        lines.append(
            form.line(call=call, digest=digest, **shared, messages=new, tools=tools, **asked)
        )
        if request.messages:
            self._remember(_History(call, list(request.messages), digests))
        return call, lines

    def _digests(
        self, messages: Sequence[Message], lines: list[str]
    ) -> tuple[list[str], tuple[str, int] | None]:
        """Each message's digest, and the call that had the first of them, with how many."""
        before = self._histories.get(id(messages[0])) if messages else None
        digests: list[str] = []
        same = 0
        for at, message in enumerate(messages):
            if before is not None and same == at and before.has(at, message):
                digests.append(before.digests[at])
                same += 1
                continue
            plain = form.plain(message)
            digest = form.digest_of(plain)
            digests.append(digest)
            self._note(digest, lines, message=plain)
        return digests, None if before is None or not same else (before.call, same)

    def _digest_of_tools(self, tools: tuple[ToolSchema, ...], lines: list[str]) -> str:
        if self._tools[0] is not tools:
            plain = form.plain_tools(tools)
            digest = form.digest_of(plain)
            self._note(digest, lines, tools=plain)
            self._tools = (tools, digest)
        return self._tools[1]

    def _note(self, digest: str, lines: list[str], **part: Json) -> None:
        if digest not in self._known:
            lines.append(form.line(part=digest, **part))
            self._known[digest] = None
            if len(self._known) > PARTS:
                self._known.popitem(last=False)

    def _remember(self, history: "_History") -> None:
        key = id(history.messages[0])
        self._histories[key] = history
        self._histories.move_to_end(key)
        if len(self._histories) > HISTORIES:
            self._histories.popitem(last=False)


class _History:
    """The messages of a request. They are kept, so that they are themselves and no others."""

    __slots__ = ("call", "digests", "messages")

    def __init__(self, call: str, messages: list[Message], digests: list[str]) -> None:
        self.call = call
        self.messages = messages
        self.digests = digests

    def has(self, at: int, message: Message) -> bool:
        return at < len(self.messages) and self.messages[at] is message


class _Recorded:
    """One call of the model, while it goes on."""

    def __init__(self, tape: RecordingModel, request: ModelRequest) -> None:
        self._tape = tape
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._call = ""
        self._lines: list[str] = []
        self._size = 0
        self._end: form.End = "left"
        self._error: dict[str, Json] | None = None
        if tape.error is not None:
            return
        try:
            self._call, lines = tape.begin_call(request)
        except (CodecError, TypeError, ValueError) as error:  # no tape could hold it
            tape.give_up(error)
        else:
            tape.append(lines)

    async def heard(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
        """Each chunk, noted and passed on."""
        try:
            async for chunk in chunks:
                if isinstance(chunk, Finished):
                    self._end = "finished"
                self._note(chunk)
                yield chunk
        except Exception as error:  # the one boundary: it is noted, and goes on
            self.failed(error)
            raise
        if self._end == "left":
            self._end = "cut"

    def close(self) -> None:
        """It is over, however it ended."""
        more: dict[str, Json] = {} if self._error is None else {"error": self._error}
        self._put(end=self._end, **more)
        self._flush()

    def failed(self, error: Exception) -> None:
        """The model raised this."""
        retry_after = error.retry_after if isinstance(error, RateLimitedError) else None
        text = error.message if isinstance(error, RateLimitedError) else str(error)
        self._end = "error"
        self._error = {"type": type(error).__name__, "text": text, "retry_after": retry_after}

    def _note(self, chunk: Chunk) -> None:
        try:
            self._put(chunk=form.plain_chunk(chunk))
        except (CodecError, ValueError) as error:  # no tape could hold it
            self._tape.give_up(error)

    def _put(self, **written: Json) -> None:
        if not self._call:
            return
        after = round(self._now() - self._began, 6)
        text = form.line(call=self._call, after=after, **written)
        self._lines.append(text)
        self._size += len(text)
        if self._size > BUFFER:
            self._flush()

    def _flush(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        self._tape.append(lines)


def _append(path: Path, text: str) -> None:
    """Append complete lines, with one write: other recordings may append too."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    file = os.open(path, flags, 0o600)
    try:
        rest = memoryview(text.encode("ascii"))
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
