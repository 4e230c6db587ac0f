"""Why there is no response to an HTTP request, in words of this program.

The texts of the HTTP library repeat what was received, and a server may repeat the credentials.
"""

import os
import ssl

import aiohttp

_REMEDIES = {
    9: "correct the clock of this machine, or of the one that issued it",
    10: "renew it, or the authority that has signed it, or correct the clock of this machine",
}
"""What to do by the reason for which OpenSSL rejects a certificate: X509_V_ERR_CERT_NOT_YET_VALID
and X509_V_ERR_CERT_HAS_EXPIRED."""


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


def certificate_remedy(error: Exception) -> str:
    """What to do about a certificate that is not trusted because of its dates; empty: another
    reason, about which the settings of the client can do something."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    return _REMEDIES.get(getattr(error, "verify_code", 0), "")


def _untrusted(error: Exception) -> str:
    reason = getattr(error, "verify_message", "") or "it cannot be verified"
    return f"its certificate is not trusted: {reason}"
