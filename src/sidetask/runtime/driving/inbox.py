"""What was said and waits for its turn, in order."""

from sidetask.agents.conversation import Conversation
from sidetask.agents.loop import TurnEnd
from sidetask.core.errors import TurnCancelledError
from sidetask.core.ids import ConversationId, value
from sidetask.core.messages import UserMessage
from sidetask.observe.base import Observer
from sidetask.runtime.keeping.absence import is_among
from sidetask.runtime.response import ChatResponse


@value
class Waiting:
    """A message, and what its turn will be seen as."""

    message: UserMessage
    response: ChatResponse
    asked: object = None
    """What the observer remembers of who asked."""


class Inbox:
    """One conversation's."""

    __slots__ = ("_id", "_observer", "waiting")

    def __init__(self, conversation_id: ConversationId, observer: Observer | None) -> None:
        self._id = conversation_id
        self._observer = observer
        self.waiting: list[Waiting] = []

    def put(self, message: UserMessage, response: ChatResponse) -> None:
        asked = None if self._observer is None else self._observer.asked()
        self.waiting.append(Waiting(message, response, asked))

    def take(self) -> tuple[UserMessage, ChatResponse]:
        """The first, which there is: its turn begins."""
        waiting = self.waiting.pop(0)
        if self._observer is not None:
            self._observer.admitted(self._id, waiting.asked)
        return waiting.message, waiting.response

    def withdraw(self, response: ChatResponse, reason: str) -> bool:
        """It gets no turn. False: it does not wait for one."""
        left = [each for each in self.waiting if each.response is not response]
        if len(left) == len(self.waiting):
            return False
        self.waiting = left
        response.finish(cancelled(reason))
        return True

    def refuse(self, reason: str) -> None:
        """None gets a turn."""
        refused, self.waiting = self.waiting, []
        for each in refused:
            each.response.finish(cancelled(reason))

    def put_off(self, conversation: Conversation, said: UserMessage | None) -> None:
        """What nobody waits for is said later: what waits here, and `said`, if it was not said."""
        steering = conversation.steering
        if said is not None and not is_among(said, conversation.history):
            steering.insert(0, said)
        steering += [each.message for each in self.waiting if each.response.sent]
        self.waiting = [each for each in self.waiting if not each.response.sent]


def cancelled(reason: str) -> TurnEnd:
    """The end of a turn that was not run, or not to its end."""
    return TurnEnd("cancelled", error=TurnCancelledError(reason))
