"""The tables of [server] as they are written."""

from pydantic import Field, SecretStr

from autoscaler.config.fields import Line, Patterns
from autoscaler.config.table import Table


class ServerTlsTable(Table):
    """TLS of the server. The files are read again when they change."""

    cert_file: Line = Field(description="File of the certificate, and of intermediate ones; PEM.")
    key_file: Line = Field(description="File of its key; PEM, not encrypted.")
    client_ca_file: Line | None = Field(
        default=None,
        description="File of the authorities that sign the certificates of clients, which all but "
        "the probes then need; PEM.",
    )


class RateLimitTable(Table):
    """How often one address may request something, the probes apart."""

    per_second: float = Field(gt=0.0, le=10_000.0, description="Requests per second, on average.")
    burst: int = Field(
        default=20, ge=1, le=10_000, description="Requests that may follow one another at once."
    )


class ServerTable(Table):
    """The address of /metrics, /healthz, /readyz, /decisions and /resume, and who may use them."""

    host: Line = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=9464, ge=0, le=65535, description="Port to listen on; 0: any free.")
    token: SecretStr | None = Field(
        default=None, description="Token that requests for changes must carry. Prefer token_file."
    )
    token_file: Line | None = Field(default=None, description="File that contains the token.")
    tokens: dict[Line, Line] | None = Field(
        default=None,
        description="Further tokens: the name of each operator, which logs and the history show, "
        "with the file that contains the token.",
    )
    open_reads: bool = Field(
        default=True,
        description="Answer reads without the token. The probes never need it.",
    )
    allowed_hosts: Patterns | None = Field(
        default=None,
        description="Names under which clients reach the server, beside localhost, this host's own "
        "name and every IP address.",
    )
    tls: ServerTlsTable | None = Field(
        default=None, description="TLS of the server. Default: plain HTTP."
    )
    users: dict[Line, SecretStr] | None = Field(
        default=None,
        description="Users, who may read: each name with the bcrypt hash of the password.",
    )
    rate_limit: RateLimitTable | None = Field(
        default=None, description="Limit of the requests of one address. Default: none."
    )
