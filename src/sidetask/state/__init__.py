"""What agents share: a blackboard of JSON values."""

from sidetask.state.board import Journal as Journal
from sidetask.state.board import Page as Page
from sidetask.state.provenance import Change as Change
from sidetask.state.provenance import Origin as Origin
from sidetask.state.provenance import Provenance as Provenance
from sidetask.state.provenance import provenance as provenance
from sidetask.state.results import NamedRun as NamedRun
from sidetask.state.results import error_key as error_key
from sidetask.state.results import failed as failed
from sidetask.state.results import resolved as resolved
from sidetask.state.results import result_key as result_key
from sidetask.state.results import settled as settled
from sidetask.state.results import start_result as start_result
from sidetask.state.results import status_key as status_key
from sidetask.state.spaces import SharedSpaces as SharedSpaces
from sidetask.state.state import Fork as Fork
from sidetask.state.state import State as State
from sidetask.state.state import StateView as StateView
from sidetask.state.watch import Watch as Watch
from sidetask.state.watch import When as When
from sidetask.state.watch import became_true as became_true
from sidetask.state.watch import changed as changed
from sidetask.state.watch import crossed_above as crossed_above
from sidetask.state.watch import crossed_below as crossed_below

__all__ = [
    "Change",
    "Fork",
    "Journal",
    "NamedRun",
    "Origin",
    "Page",
    "Provenance",
    "SharedSpaces",
    "State",
    "StateView",
    "Watch",
    "When",
    "became_true",
    "changed",
    "crossed_above",
    "crossed_below",
    "error_key",
    "failed",
    "provenance",
    "resolved",
    "result_key",
    "settled",
    "start_result",
    "status_key",
]
