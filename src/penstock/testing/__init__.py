"""Help for testing what is built on penstock, and for proving backends.

`AppTester` (the pytest fixture ``penstock``) runs an app's listeners in memory; `ManualClock` owns time; `Faulty`
breaks a broker on purpose; `penstock.testing.contracts` holds the suites that every backend passes.
"""

from penstock.testing.clock import ManualClock
from penstock.testing.faulty import Faulty
from penstock.testing.harness import AppTester

__all__ = ["AppTester", "Faulty", "ManualClock"]
