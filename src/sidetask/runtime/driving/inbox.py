"""What was said and waits for its turn, in order."""

from sidetask.agents.conversation import Conversation
from sidetask.agents.turn.loop import TurnEnd
from sidetask.core.errors import ConversationTakenError, TurnCancelledError
from sidetask.core.ids import ConversationId
from sidetask.core.messages import UserMessage
from sidetask.observe.base import Observer
from sidetask.runtime.keeping.absence import is_among
from sidetask.runtime.response import ChatResponse


class Inbox:
    """One conversation's."""

    __slots__ = ("_id", "_observer", "waiting")

    def __init__(self, conversation_id: ConversationId, observer: Observer | None) -> None:
        self._id = conversation_id
        self._observer = observer
        self.waiting: tuple[ChatResponse, ...] = ()

    def put(self, message: UserMessage, response: ChatResponse) -> None:
        response.message = message
        if self._observer is not None:
            response.asked = self._observer.asked()
        self.waiting += (response,)

    def take(self) -> ChatResponse:
        """The first, which there is: its turn begins."""
        response, self.waiting = self.waiting[0], self.waiting[1:]
        if self._observer is not None:
            self._observer.admitted(self._id, response.asked)
        return response

    def withdraw(self, response: ChatResponse, reason: str) -> bool:
        """It gets no turn. False: it does not wait for one."""
        left = tuple([each for each in self.waiting if each is not response])
        if len(left) == len(self.waiting):
            return False
        self.waiting = left
        response.finish(cancelled(reason))
        return True

    def refuse(self, reason: str, *, is_taken: bool = False) -> None:
        """None gets a turn; `is_taken`: for another process has the conversation."""
        refused, self.waiting = self.waiting, ()
        for each in refused:
            each.finish(taken(self._id) if is_taken else cancelled(reason))

    def put_off(self, conversation: Conversation, failed: ChatResponse) -> None:
        """What nobody waits for is said later: what waits here, and what was to be said by the
        turn that has `failed`, if it was not."""
        said = [each.message for each in self.waiting if each.sent and each.message is not None]
        self.waiting = tuple([each for each in self.waiting if not each.sent])
        first = failed.message
        if failed.sent and first is not None and not is_among(first, conversation.history):
            conversation.steering = (first, *conversation.steering)
        conversation.steering += tuple(said)


def taken(key: ConversationId) -> TurnEnd:
    """The end of a turn of a conversation that another process has."""
    return TurnEnd("failed", error=ConversationTakenError(key))


def cancelled(reason: str) -> TurnEnd:
    """The end of a turn that was not run, or not to its end."""
    return TurnEnd("cancelled", error=TurnCancelledError(reason))
