"""Tokens (JWT) of an identity provider in a test."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from serving.deploy.callers import Tokens


class TokenIssuer:
    """Signs tokens with a key of its own; ``key_set`` is what it publishes of it."""

    def __init__(self, issuer: str, audience: str) -> None:
        self.issuer, self.audience = issuer, audience
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1"}
        key |= {"n": _encoded(numbers.n.to_bytes(256, "big")), "e": _encoded(numbers.e.to_bytes(3, "big"))}
        self.key_set = json.dumps({"keys": [key]})

    def tokens(self) -> Tokens:
        """What an edge asks of a token."""
        return Tokens(self.key_set, self.issuer, self.audience)

    def token(self, *, issuer: str | None = None, audience: str | None = None, expires: float | None = -1.0) -> str:
        """A token of "somebody", which ends in ten minutes unless told otherwise; None means never."""
        claims: dict[str, Any] = {"iss": issuer or self.issuer, "aud": audience or self.audience, "sub": "somebody"}
        if expires is not None:
            claims["exp"] = int(time.time() + 600 if expires < 0 else expires)
        head = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_encoded(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
