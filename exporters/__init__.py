"""How finished records leave the process.

:mod:`.ring` holds what waits, :mod:`.flusher` empties it, :mod:`.ledger` counts; a destination is
what implements :class:`.destination.Destination`: :mod:`.collector`, :mod:`.zipkin`, :mod:`.otlp`,
:mod:`.kafka`, :mod:`.clickhouse`, :mod:`.logs`, :mod:`.console`, :mod:`.memory`. What can be slow
stands on :mod:`.sender`. Importing this package imports none of them.
"""

import logging

# A library does not print: without this, Python writes warnings to standard error wherever the
# application has not set up logging.
logging.getLogger("lookout").addHandler(logging.NullHandler())
