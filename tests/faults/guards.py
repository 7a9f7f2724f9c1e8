"""The guards that the promises rest on, as data for the mutation check; the rules are the design's."""

from tests.faults.guards_at_services import AT_SERVICES
from tests.faults.guards_of_records import OF_RECORDS
from tests.faults.guards_of_timers import OF_TIMERS

GUARDS = (*OF_RECORDS, *OF_TIMERS, *AT_SERVICES)
