"""Why there is no response to an HTTP request, in words of this program.

The texts of the HTTP library repeat what was received, and a server may repeat the credentials.
"""

import os
import ssl

import aiohttp


def no_response_because(error: aiohttp.ClientError | OSError) -> str:
    """The reason as a part of a sentence, without any text from outside."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(error.certificate_error)
        case aiohttp.ClientConnectorError():
            return no_response_because(error.os_error)
        case ssl.SSLCertVerificationError():
            return _untrusted(error)
        case ssl.SSLError():
            return f"no TLS connection: {getattr(error, 'reason', '') or 'the handshake failed'}"
        case TimeoutError():
            return "there was no response in time"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "its response is not HTTP"
        case OSError() if error.errno is not None and error.errno > 0:
            return os.strerror(error.errno).lower()
        case OSError() if not isinstance(error, aiohttp.ClientError) and error.strerror:
            return error.strerror  # of the resolution of a name, which has negative numbers
    return "the connection was lost"


def _untrusted(error: Exception) -> str:
    reason = getattr(error, "verify_message", "") or "it cannot be verified"
    return f"its certificate is not trusted: {reason}"
