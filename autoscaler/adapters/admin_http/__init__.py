"""The daemon's HTTP server: the status page for browsers, /metrics for Prometheus, /healthz and
/readyz for probes, /api/v1 for programs and commands, and the older paths /decisions and /resume.

health         whether the control loop runs, and how old its observations are
decisions      the last cycle, as the response of /decisions
resume         the JSON of /resume
refusals       what is not answered: counted, and logged at a bounded rate
responses      the headers of every response, and errors as JSON
guard          which requests are answered: Host, Origin, token, body
exposition     the metrics in either text format, in pieces
rendering      responses that take long to make, in a thread, one at a time
connections    how many connections there are, and how long each may take
endpoints      what is answered under /api/v1, as a table of which the routes are made
status         the status and the deployments, as endpoints
history        the history, as endpoints
reload         the request to read the configuration again, as an endpoint
instructions   the instructions of operators, as endpoints
series         the last hours of every deployment, in memory, for charts
page           the status page as HTML, with the files that it loads
live           events after each cycle, for open pages and for programs
status_pages   the paths of the status page, and the events and the series as endpoints
openapi        the OpenAPI document, made of the same table
cluster_pages  the pages of one cluster: its endpoints, /decisions and /resume
server         the metrics and the probes, and all of the above
client         requests to the server, for commands
"""

from autoscaler.adapters.admin_http.cluster_pages import ClusterPages
from autoscaler.adapters.admin_http.decisions import DecisionRecorder
from autoscaler.adapters.admin_http.guard import Guard, Tokens
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.instructions import instruction_endpoints
from autoscaler.adapters.admin_http.reload import reload_endpoint
from autoscaler.adapters.admin_http.server import AdminServer, CannotListen

__all__ = [
    "AdminServer",
    "CannotListen",
    "ClusterPages",
    "DecisionRecorder",
    "Guard",
    "Health",
    "Tokens",
    "instruction_endpoints",
    "reload_endpoint",
]
