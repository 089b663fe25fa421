"""Stand-ins for the model services: each takes exactly what its page documents, on loopback.

::

    with ModelServer("novita", brain=Planted({"/ len": "Division by zero"})) as server:
        ...  # POSTIL_BASE_URL=server.base_url, NOVITA_API_KEY=server.key
    assert not server.refusals
    assert server.bill.cost_usd == ...

What a page does not say is refused and recorded. A stand-in counts tokens and money itself, and
knows nothing of how the client counts them.
"""

from sandbox.models.brain import Planted, answer_nothing
from sandbox.models.faults import Act
from sandbox.models.rows import ROWS, Row, Tier
from sandbox.models.server import Bill, ModelServer, Seen

__all__ = ["ROWS", "Act", "Bill", "ModelServer", "Planted", "Row", "Seen", "Tier", "answer_nothing"]
