"""Helpers for tests of services: a manual clock (`ManualClock`), a record of sent messages (`recorded`), a wait until
all work is done (`settled`), the exploration of a saga through all failures of its steps (`explore`), the simulation
of whole services with faults in virtual time (`simulate`), kills of real processes at every point of the library
(`explore_crashes`), a proxy with the faults of a network (`TcpProxy`), a ledger of external effects (`EffectLedger`),
and what else `__all__` lists.
"""

from __future__ import annotations

from freehold.testing.choreography import (
    Choreography,
    ChoreographyReport,
    ChoreographyViolation,
    explore_choreography,
)
from freehold.testing.choreography_stage import MessageFault, Stage
from freehold.testing.clock import ManualClock
from freehold.testing.crashes.exploration import (
    CrashReport,
    CrashRun,
    CrashViolation,
    crash_once,
    explore_crashes,
)
from freehold.testing.crashes.passage import Passage
from freehold.testing.crashes.scenario import CrashScenario
from freehold.testing.effect_client import EffectClient, EffectFailed, EffectUnknown
from freehold.testing.effect_ledger import EffectAnswer, EffectLedger, EffectRequest, EffectState
from freehold.testing.histories.checks import check_bank, check_list_append, check_set
from freehold.testing.histories.linearizability import check_register
from freehold.testing.histories.operation import Operation, OperationOutcome, read_history
from freehold.testing.histories.recorder import HistoryRecorder, Invocation
from freehold.testing.nemesis.connections import lost_answers, network_faults
from freehold.testing.nemesis.disk import full_disk
from freehold.testing.nemesis.disturbance import Disturbance, frozen, killed
from freehold.testing.nemesis.nemesis import Happening, Nemesis
from freehold.testing.nemesis.schedule import Planned
from freehold.testing.network.lost_answers import (
    MARIADB_COMMIT,
    POSTGRESQL_COMMIT,
    Exchange,
    Loss,
    LostAnswers,
    nats_publish,
)
from freehold.testing.network.proxy import TcpProxy
from freehold.testing.network.stream import Direction, Observer
from freehold.testing.participants import SagaViolation
from freehold.testing.recorder import Recording, recorded
from freehold.testing.saga import Exploration, SagaEnd, explore
from freehold.testing.settlement import NotSettled, settled, unsettled
from freehold.testing.simulation.explorer import (
    Scenario,
    SimulationFailure,
    SimulationReport,
    SimulationRun,
    simulate,
    simulate_once,
)
from freehold.testing.simulation.faults import ALL_FAULTS, Fault, FaultKind
from freehold.testing.simulation.world import World

__all__ = [
    "ALL_FAULTS",
    "MARIADB_COMMIT",
    "POSTGRESQL_COMMIT",
    "Choreography",
    "ChoreographyReport",
    "ChoreographyViolation",
    "CrashReport",
    "CrashRun",
    "CrashScenario",
    "CrashViolation",
    "Direction",
    "Disturbance",
    "EffectAnswer",
    "EffectClient",
    "EffectFailed",
    "EffectLedger",
    "EffectRequest",
    "EffectState",
    "EffectUnknown",
    "Exchange",
    "Exploration",
    "Fault",
    "FaultKind",
    "Happening",
    "HistoryRecorder",
    "Invocation",
    "Loss",
    "LostAnswers",
    "ManualClock",
    "MessageFault",
    "Nemesis",
    "NotSettled",
    "Observer",
    "Operation",
    "OperationOutcome",
    "Passage",
    "Planned",
    "Recording",
    "SagaEnd",
    "SagaViolation",
    "Scenario",
    "SimulationFailure",
    "SimulationReport",
    "SimulationRun",
    "Stage",
    "TcpProxy",
    "World",
    "check_bank",
    "check_list_append",
    "check_register",
    "check_set",
    "crash_once",
    "explore",
    "explore_choreography",
    "explore_crashes",
    "frozen",
    "full_disk",
    "killed",
    "lost_answers",
    "nats_publish",
    "network_faults",
    "read_history",
    "recorded",
    "settled",
    "simulate",
    "simulate_once",
    "unsettled",
]
